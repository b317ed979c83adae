//! Selects the files of a listing that a model needs: the Hugging Face layout with safetensors, or one GGUF file. No other file is fetched, in
//! particular no format that executes code when it is loaded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::file::{RemoteFile, is_gguf};

/// The index of weights in several files.
const INDEX: &str = "model.safetensors.index.json";

/// Weights in one file.
const SINGLE: &str = "model.safetensors";

/// The file by which the Hugging Face layout is recognized.
const CONFIG: &str = "config.json";

/// Files of the Hugging Face layout besides the weights: those that the engine reads, and those that managed servers read.
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

/// Files that state the model's origin and licence.
const DOCUMENTS: [&str; 4] = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"];

/// Largest number of files that an error lists.
const MAX_LISTED: usize = 8;

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileSet {
    /// All of them.
    pub files: Vec<RemoteFile>,
    /// The name of the GGUF file if the model is one.
    pub gguf: Option<String>,
}

/// The selection from a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All files are known.
    Complete(FileSet),
    /// The others, the index, and the weights that the index names: see [`indexed_weights`].
    Sharded {
        index: RemoteFile,
        others: Vec<RemoteFile>,
    },
}

/// Whether a file of this name may be selected, so that its size and version are needed.
pub(super) fn is_relevant(name: &str) -> bool {
    let named = LAYOUT.iter().chain(&DOCUMENTS).any(|known| *known == name);
    named || name == INDEX || name.ends_with(".safetensors") || is_gguf(name)
}

/// Selects the files of `listing` that the model needs; `wanted` names its GGUF file.
///
/// # Errors
/// A message that says which file is missing and what to do.
pub(super) fn select(listing: &[RemoteFile], wanted: Option<&str>) -> Result<Selection, String> {
    let find = |name: &str| listing.iter().find(|file| file.name == name);
    let all = |names: &[&str]| -> Vec<RemoteFile> {
        names
            .iter()
            .filter_map(|name| find(name))
            .cloned()
            .collect()
    };
    let documents = all(&DOCUMENTS);
    let mut ggufs: Vec<&RemoteFile> = listing.iter().filter(|file| file.is_gguf()).collect();
    ggufs.sort();
    let gguf = |file: &RemoteFile| {
        Selection::Complete(FileSet {
            gguf: Some(file.name.clone()),
            files: [documents.clone(), vec![file.clone()]].concat(),
        })
    };
    if let Some(wanted) = wanted {
        let found = ggufs.iter().find(|file| file.name == wanted);
        return found.map(|file| gguf(file)).ok_or_else(|| {
            format!(
                "there is no GGUF file `{wanted}`{}",
                format_names(" among ", &ggufs)
            )
        });
    }
    if find(CONFIG).is_some() {
        let mut others = [all(&LAYOUT), documents.clone()].concat();
        // The engine prefers the single file too.
        if let Some(single) = find(SINGLE) {
            others.push(single.clone());
            return Ok(Selection::Complete(FileSet {
                files: others,
                gguf: None,
            }));
        }
        if let Some(index) = find(INDEX) {
            return Ok(Selection::Sharded {
                index: index.clone(),
                others,
            });
        }
    }
    match ggufs[..] {
        [only] => Ok(gguf(only)),
        [] if find(CONFIG).is_some() => Err(format!(
            "there is a {CONFIG}, but neither {SINGLE} nor {INDEX}: name a revision or a location that has the weights as safetensors"
        )),
        [] => Err(format!(
            "there is neither a {CONFIG} nor a GGUF file: name a location that has a model in the Hugging Face layout or as GGUF"
        )),
        _ => Err(format!(
            "there are several GGUF files{}: name one (of the hub as `file`, of an object store with its whole URI)",
            format_names(", ", &ggufs)
        )),
    }
}

fn format_names(before: &str, files: &[&RemoteFile]) -> String {
    let names: Vec<String> = files
        .iter()
        .take(MAX_LISTED)
        .map(|file| format!("`{}`", file.name))
        .collect();
    match (names.is_empty(), files.len() > MAX_LISTED) {
        (true, _) => String::new(),
        (false, true) => format!("{before}{}, …", names.join(", ")),
        (false, false) => format!("{before}{}", names.join(", ")),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns the files with weights that an index names.
///
/// # Errors
/// The index is invalid, or names a file that is not listed.
pub(super) fn indexed_weights(
    index: &[u8],
    listing: &[RemoteFile],
) -> Result<Vec<RemoteFile>, String> {
    let Index { weight_map } = serde_json::from_slice(index)
        .map_err(|error| format!("{INDEX} is not an index of weights ({error})"))?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    let file = |name: &&String| {
        let listed = listing
            .iter()
            .find(|file| file.name == **name && file.is_safetensors());
        listed.cloned().ok_or_else(|| {
            let name: String = name.chars().take(200).collect();
            format!("{INDEX} names `{name}`, but there is no such safetensors file")
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

    fn selected(names: &[&str], wanted: Option<&str>) -> (Vec<String>, Option<String>) {
        match select(&files(names), wanted).unwrap() {
            Selection::Complete(set) => {
                let mut names: Vec<String> = set.files.into_iter().map(|file| file.name).collect();
                names.sort();
                (names, set.gguf)
            }
            Selection::Sharded { index, others } => {
                let others = others.into_iter().map(|file| file.name);
                (
                    others.chain([format!("index {}", index.name)]).collect(),
                    None,
                )
            }
        }
    }

    #[test]
    fn select_takes_only_needed_files() {
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
            selected(&usual, None),
            (expected.map(String::from).into(), None)
        );
        let both = ["config.json", "model.safetensors", INDEX];
        let (names, _) = selected(&both, None);
        assert_eq!(names, ["config.json", "model.safetensors"]);
        let (names, _) = selected(&["config.json", INDEX, "a.safetensors"], None);
        assert_eq!(names, ["config.json", &format!("index {INDEX}")]);
    }

    #[test]
    fn select_takes_only_or_named_gguf() {
        let one = ["README.md", "config.json", "a.GGUF"];
        let expected = ["README.md", "a.GGUF"].map(String::from);
        assert_eq!(
            selected(&one, None),
            (expected.into(), Some("a.GGUF".into()))
        );
        let two = ["a.gguf", "b.gguf", "config.json", "model.safetensors"];
        assert_eq!(
            selected(&two, Some("b.gguf")),
            (vec!["b.gguf".into()], Some("b.gguf".into()))
        );
        assert_eq!(selected(&two, None).1, None);
    }

    #[test]
    fn select_rejects_incomplete_listings_with_advice() {
        for (names, wanted, expected) in [
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
            let message = select(&files(names), wanted).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn index_names_only_listed_files() {
        let listing = files(&["a.safetensors", "b.safetensors", "evil.bin"]);
        let index = |file: &str| format!(r#"{{"weight_map": {{"x": "{file}", "y": "{file}"}}}}"#);
        let found = indexed_weights(index("b.safetensors").as_bytes(), &listing).unwrap();
        assert_eq!(found, [listing[1].clone()]);
        for wrong in ["../a.safetensors", "evil.bin", "c.safetensors", ""] {
            indexed_weights(index(wrong).as_bytes(), &listing).unwrap_err();
        }
        for garbage in ["", "[]", "{}", "{\"weight_map\": 3}"] {
            indexed_weights(garbage.as_bytes(), &listing).unwrap_err();
        }
    }
}
