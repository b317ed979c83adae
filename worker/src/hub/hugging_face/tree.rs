//! Parses the hub's listing of a folder into a list of plain file names, also if the listing is hostile. Pure.

use reqwest::Url;
use serde::Deserialize;

use crate::hub::file::{Identity, RemoteFile, is_plain};

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// Parses one page. Folders and names that are not plain are left out: no file of a model has one.
///
/// # Errors
/// The page is not a listing.
pub(super) fn parse(page: &[u8]) -> Result<Vec<RemoteFile>, serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_slice(page)?;
    let file = |entry: Entry| {
        let (identity, bytes) = match entry.lfs {
            Some(lfs) => (Identity::Sha256(lfs.oid), lfs.size),
            None => (Identity::GitBlob(entry.oid), entry.size),
        };
        (entry.kind == "file" && is_plain(&entry.path)).then_some(RemoteFile {
            name: entry.path,
            bytes,
            identity,
        })
    };
    Ok(entries.into_iter().filter_map(file).collect())
}

/// Returns the URL of the next page from the header `Link` of the page at `url`.
pub(super) fn next_page(link: &str, url: &Url) -> Option<Url> {
    let is_next = |part: &&str| {
        let mut settings = part.split(';').skip(1).map(str::trim);
        settings.any(|setting| setting == "rel=\"next\"" || setting == "rel=next")
    };
    let part = link.split(',').find(is_next)?;
    let target = part.split(';').next()?.trim();
    let target = target.strip_prefix('<')?.strip_suffix('>')?;
    url.join(target).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_gives_names_sizes_and_digests() {
        let page = br#"[
            {"type": "directory", "oid": "d1", "size": 0, "path": "original"},
            {"type": "file", "oid": "b1", "size": 12, "path": "config.json"},
            {"type": "file", "oid": "b2", "size": 135, "path": "model.safetensors", "xetHash": "x",
             "lfs": {"oid": "s2", "size": 988, "pointerSize": 135}},
            {"type": "file", "oid": "b3", "size": 1, "path": ".gitattributes"},
            {"type": "file", "oid": "b4", "size": 1, "path": "../../up"},
            {"type": "file", "oid": "b5", "size": 1, "path": "original/model.safetensors"}
        ]"#;
        let expected = [
            RemoteFile {
                name: "config.json".into(),
                bytes: 12,
                identity: Identity::GitBlob("b1".into()),
            },
            RemoteFile {
                name: "model.safetensors".into(),
                bytes: 988,
                identity: Identity::Sha256("s2".into()),
            },
        ];
        assert_eq!(parse(page).unwrap(), expected);
        for garbage in [
            &b"<html>"[..],
            b"{}",
            b"[3]",
            b"[{\"type\": \"file\"}]",
            b"",
        ] {
            parse(garbage).unwrap_err();
        }
    }

    #[test]
    fn next_page_is_read_from_link_header() {
        let url = Url::parse("https://hub.example/api/models/a/b/tree/c").unwrap();
        let at = |link| next_page(link, &url).map(String::from);
        let expected = Some("https://hub.example/api/x?cursor=2".to_owned());
        assert_eq!(
            at("<https://hub.example/api/x?cursor=2>; rel=\"next\""),
            expected
        );
        assert_eq!(
            at("</p>; rel=\"prev\", </api/x?cursor=2>; rel=\"next\""),
            expected
        );
        for other in ["", "</api/x>; rel=\"prev\"", "next", "<>;", "rel=\"next\""] {
            assert_eq!(at(other), None, "{other}");
        }
    }
}
