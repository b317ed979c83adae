//! Valid files are read; every kind of invalid file has its own message with file and line.

use super::*;

fn parse(text: &str, answers: bool) -> Result<Vec<FileQuestion>, String> {
    parse_questions(
        "seeds.jsonl",
        text.as_bytes(),
        "question",
        answers.then_some("answer"),
    )
    .map_err(|e| e.to_string())
}

#[test]
fn questions_have_lines_and_answers() {
    let text = "\u{feff}{\"question\": \"one?\", \"answer\": \"1\", \"id\": 7}\r\n\n{\"question\": \"two?\"}\n{\"question\": \" three?\", \"answer\": 3.5}";
    let question = |line, question: &str, answer: Option<&str>| FileQuestion {
        line,
        question: question.into(),
        answer: answer.map(str::to_string),
    };
    let expected = [
        question(1, "one?", Some("1")),
        question(3, "two?", None),
        question(4, " three?", Some("3.5")),
    ];
    assert_eq!(parse(text, true).unwrap(), expected);
    assert!(
        parse(text, false)
            .unwrap()
            .iter()
            .all(|question| question.answer.is_none())
    );
}

#[test]
fn invalid_file_names_line_and_cause() {
    let good = "{\"question\": \"q\", \"answer\": \"a\"}\n";
    #[rustfmt::skip]
    let cases = [
        ("", "seeds.jsonl: the file has no questions: write one JSON object per line"),
        ("\n \n", "seeds.jsonl: the file has no questions: write one JSON object per line"),
        ("{\"question\": \"q\"", "seeds.jsonl, line 1: not JSON, column 16: EOF while parsing an object"),
        ("question\nq\n", "seeds.jsonl, line 1: not JSON, column 1: expected value"),
        ("[1, 2]\n", "seeds.jsonl, line 1: expected a JSON object, found a list"),
        ("\"q\"\n", "seeds.jsonl, line 1: expected a JSON object, found a string"),
        ("{\n  \"question\": \"q\"\n}\n", "seeds.jsonl, line 1: the file is one JSON document, not JSON lines: write one object per line"),
        ("{\"Question\": \"q\"}\n", "seeds.jsonl, line 1: there is no member \"question\"; did you mean \"Question\"?"),
        ("{\"qestion\": \"q\", \"other\": 1}\n", "seeds.jsonl, line 1: there is no member \"question\"; did you mean \"qestion\"?"),
        ("{\"problem\": \"q\", \"solution\": 1}\n", "seeds.jsonl, line 1: there is no member \"question\"; the members are \"problem\", \"solution\""),
        ("{}\n", "seeds.jsonl, line 1: there is no member \"question\"; the object is empty"),
        ("{\"question\": 7}\n", "seeds.jsonl, line 1: member \"question\" must be a string, found a number"),
        ("{\"question\": null}\n", "seeds.jsonl, line 1: member \"question\" must be a string, found null"),
        ("{\"question\": \" \\n\"}\n", "seeds.jsonl, line 1: member \"question\" is empty"),
        ("{\"question\": \"q\", \"answer\": [1]}\n", "seeds.jsonl, line 1: member \"answer\" must be a string or a number, found a list"),
        ("{\"question\": \"q\", \"answers\": \"1\"}\n", "seeds.jsonl: no line has an answer: there is no member \"answer\"; did you mean \"answers\"?"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text, true).unwrap_err(), expected, "{text:?}");
        if expected.contains(", line 1:") && !expected.contains("one JSON document") {
            let later = parse(&format!("{good}\n{text}"), true).unwrap_err();
            assert_eq!(
                later,
                expected.replace("line 1:", "line 3:"),
                "{text:?} further down"
            );
        }
    }
}

#[test]
fn binary_files_are_rejected() {
    let message = |bytes: &[u8]| {
        parse_questions("x", bytes, "question", None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(b"{\"question\": \"q\"}\n{\"question\": \"\xff\"}"),
        "x, line 2: not UTF-8 text"
    );
    assert_eq!(
        message(&[0x1f, 0x8b, 8, 0]),
        "x: the file is compressed: unpack it first (gunzip)"
    );
}

#[test]
fn file_must_not_change_after_preflight() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seeds.jsonl");
    let text = "{\"question\": \"one?\", \"answer\": \"1\"}\n{\"question\": \"two?\"}\n";
    std::fs::write(&path, text).unwrap();
    let location = path.to_str().unwrap().to_string();
    let facts = check_questions(&location, "question", Some("answer")).unwrap();
    assert_eq!((facts.rows, facts.with_answers), (2, 1));
    assert_eq!(facts.digest, sha256_hex(text.as_bytes()));

    let file = QuestionFile {
        location: location.clone(),
        question_field: "question".into(),
        answer_field: None,
        digest: facts.digest,
    };
    assert_eq!(read_questions(&file).unwrap().len(), 2);
    std::fs::write(&path, text.replace("one", "eins")).unwrap();
    let error = read_questions(&file).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "{location}: the file changed since the run was accepted"
        )),
        "{error}"
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        read_questions(&file).unwrap_err().to_string(),
        format!("{location} does not exist")
    );
}

proptest::proptest! {
    #[test]
    fn parser_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = parse_questions("x", &bytes, "question", Some("answer"));
    }
}
