//! Which files of a listing a model needs: the Hugging Face layout with safetensors, or one GGUF file. Nothing else is ever fetched; formats
//! that run code when they are read, never. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::file::{RemoteFile, is_gguf};

/// The index of weights in several files.
const INDEX: &str = "model.safetensors.index.json";

/// Weights in one file.
const SINGLE: &str = "model.safetensors";

/// What tells a model of the Hugging Face layout.
const CONFIG: &str = "config.json";

/// What belongs to the Hugging Face layout beside the weights: what the engine reads, and what servers of one's own do.
const LAYOUT: [&str; 13] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
];

/// What says whose the model is.
const PAPERS: [&str; 4] = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"];

/// Files that are named where one must be chosen.
const NAMED: usize = 8;

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// All of them.
    pub files: Vec<RemoteFile>,
    /// The name of its GGUF file, where it is one.
    pub gguf: Option<String>,
}

/// Which files are needed, as far as a listing tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// These.
    Whole(Chosen),
    /// The others, the index, and what the index names: see [`shards`].
    Sharded {
        index: RemoteFile,
        others: Vec<RemoteFile>,
    },
}

/// Whether a file of this name may be needed, so that its size and version matter.
pub(super) fn may_matter(name: &str) -> bool {
    let named = LAYOUT.iter().chain(&PAPERS).any(|known| *known == name);
    named || name == INDEX || name.ends_with(".safetensors") || is_gguf(name)
}

/// The files of `listing` that are needed; `wanted`: the GGUF file that is.
///
/// # Errors
/// What is missing, and what to do.
pub(super) fn choose(listing: &[RemoteFile], wanted: Option<&str>) -> Result<Choice, String> {
    let find = |name: &str| listing.iter().find(|file| file.name == name);
    let all = |names: &[&str]| -> Vec<RemoteFile> {
        names
            .iter()
            .filter_map(|name| find(name))
            .cloned()
            .collect()
    };
    let papers = all(&PAPERS);
    let mut ggufs: Vec<&RemoteFile> = listing.iter().filter(|file| file.is_gguf()).collect();
    ggufs.sort();
    let gguf = |file: &RemoteFile| {
        Choice::Whole(Chosen {
            gguf: Some(file.name.clone()),
            files: [papers.clone(), vec![file.clone()]].concat(),
        })
    };
    if let Some(wanted) = wanted {
        let found = ggufs.iter().find(|file| file.name == wanted);
        return found.map(|file| gguf(file)).ok_or_else(|| {
            format!(
                "there is no GGUF file `{wanted}`{}",
                named(" among ", &ggufs)
            )
        });
    }
    if find(CONFIG).is_some() {
        let mut others = [all(&LAYOUT), papers.clone()].concat();
        // The order in which the engine looks for them.
        if let Some(single) = find(SINGLE) {
            others.push(single.clone());
            return Ok(Choice::Whole(Chosen {
                files: others,
                gguf: None,
            }));
        }
        if let Some(index) = find(INDEX) {
            return Ok(Choice::Sharded {
                index: index.clone(),
                others,
            });
        }
    }
    match ggufs[..] {
        [only] => Ok(gguf(only)),
        [] if find(CONFIG).is_some() => Err(format!(
            "there is a {CONFIG}, but neither {SINGLE} nor {INDEX}: name a revision or a place that has the weights as safetensors"
        )),
        [] => Err(format!(
            "there is neither a {CONFIG} nor a GGUF file: name a place that has a model in the Hugging Face layout or as GGUF"
        )),
        _ => Err(format!(
            "there are several GGUF files{}: name one (of the hub as `file`, of an object store with its whole URI)",
            named(", ", &ggufs)
        )),
    }
}

fn named(before: &str, files: &[&RemoteFile]) -> String {
    let names: Vec<String> = files
        .iter()
        .take(NAMED)
        .map(|file| format!("`{}`", file.name))
        .collect();
    match (names.is_empty(), files.len() > NAMED) {
        (true, _) => String::new(),
        (false, true) => format!("{before}{}, …", names.join(", ")),
        (false, false) => format!("{before}{}", names.join(", ")),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files with weights that an index names.
///
/// # Errors
/// It is no index, or names a file that is not listed.
pub(super) fn shards(index: &[u8], listing: &[RemoteFile]) -> Result<Vec<RemoteFile>, String> {
    let Index { weight_map } = serde_json::from_slice(index)
        .map_err(|error| format!("{INDEX} is no index of weights ({error})"))?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    let file = |name: &&String| {
        let listed = listing
            .iter()
            .find(|file| file.name == **name && file.is_safetensors());
        listed.cloned().ok_or_else(|| {
            let name: String = name.chars().take(200).collect();
            format!("{INDEX} names `{name}`, and there is no such file of safetensors")
        })
    };
    names.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::Identity;
    use super::*;

    fn files(names: &[&str]) -> Vec<RemoteFile> {
        let file = |name: &&str| RemoteFile {
            name: (*name).into(),
            bytes: 1,
            identity: Identity::Version(None),
        };
        names.iter().map(file).collect()
    }

    fn chosen(names: &[&str], wanted: Option<&str>) -> (Vec<String>, Option<String>) {
        match choose(&files(names), wanted).unwrap() {
            Choice::Whole(chosen) => {
                let mut names: Vec<String> =
                    chosen.files.into_iter().map(|file| file.name).collect();
                names.sort();
                (names, chosen.gguf)
            }
            Choice::Sharded { index, others } => {
                let others = others.into_iter().map(|file| file.name);
                (
                    others.chain([format!("index {}", index.name)]).collect(),
                    None,
                )
            }
        }
    }

    #[test]
    fn only_what_a_model_needs_is_chosen() {
        let usual = [
            ".gitattributes",
            "README.md",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "modeling_own.py",
            "tokenizer.json",
            "training_args.bin",
            "consolidated.safetensors",
        ];
        let expected = [
            "README.md",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ];
        assert_eq!(
            chosen(&usual, None),
            (expected.map(String::from).into(), None)
        );
        let both = ["config.json", "model.safetensors", INDEX];
        let (names, _) = chosen(&both, None);
        assert_eq!(names, ["config.json", "model.safetensors"]);
        let (names, _) = chosen(&["config.json", INDEX, "a.safetensors"], None);
        assert_eq!(names, ["config.json", &format!("index {INDEX}")]);
    }

    #[test]
    fn a_gguf_file_is_chosen_where_there_is_nothing_else_or_it_is_named() {
        let one = ["README.md", "config.json", "a.GGUF"];
        let expected = ["README.md", "a.GGUF"].map(String::from);
        assert_eq!(chosen(&one, None), (expected.into(), Some("a.GGUF".into())));
        let two = ["a.gguf", "b.gguf", "config.json", "model.safetensors"];
        assert_eq!(
            chosen(&two, Some("b.gguf")),
            (vec!["b.gguf".into()], Some("b.gguf".into()))
        );
        assert_eq!(chosen(&two, None).1, None);
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_to_do() {
        for (names, wanted, says) in [
            (&[][..], None, "neither a config.json nor a GGUF"),
            (&["config.json", "pytorch_model.bin"], None, "safetensors"),
            (&["a.gguf", "b.gguf"], None, "`a.gguf`, `b.gguf`: name one"),
            (
                &["a.gguf"],
                Some("c.gguf"),
                "no GGUF file `c.gguf` among `a.gguf`",
            ),
            (&["x.bin"], Some("x.bin"), "no GGUF file `x.bin`"),
        ] {
            let refused = choose(&files(names), wanted).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn an_index_names_files_of_the_listing_and_no_others() {
        let listing = files(&["a.safetensors", "b.safetensors", "evil.bin"]);
        let index = |file: &str| format!(r#"{{"weight_map": {{"x": "{file}", "y": "{file}"}}}}"#);
        let found = shards(index("b.safetensors").as_bytes(), &listing).unwrap();
        assert_eq!(found, [listing[1].clone()]);
        for wrong in ["../a.safetensors", "evil.bin", "c.safetensors", ""] {
            shards(index(wrong).as_bytes(), &listing).unwrap_err();
        }
        for garbage in ["", "[]", "{}", "{\"weight_map\": 3}"] {
            shards(garbage.as_bytes(), &listing).unwrap_err();
        }
    }
}
