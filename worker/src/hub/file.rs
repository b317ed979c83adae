//! A file as its origin lists it: name, size and digest.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use scalequest_crds::digest::hex;

/// A file that an origin lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RemoteFile {
    /// Its name, without any folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The identity of its content.
    pub identity: Identity,
}

/// The identity of a file's content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// SHA-256, in hex: files in the hub's large file storage.
    Sha256(String),
    /// SHA-1 of the git blob, in hex: all other files of the hub.
    GitBlob(String),
    /// The version that an object store names; no digest is known.
    Version(Option<String>),
}

impl RemoteFile {
    /// Whether it is a safetensors file.
    pub(super) fn is_safetensors(&self) -> bool {
        self.name.ends_with(".safetensors")
    }

    /// Whether it is a GGUF file.
    pub(super) fn is_gguf(&self) -> bool {
        is_gguf(&self.name)
    }

    /// Returns a hasher for its bytes.
    pub(super) fn hasher(&self) -> Hasher {
        match &self.identity {
            Identity::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Identity::GitBlob(_) => {
                Hasher::Sha1(Sha1::new_with_prefix(format!("blob {}\0", self.bytes)))
            }
            Identity::Version(_) => Hasher::None,
        }
    }

    /// Whether bytes with this digest match the listing.
    pub(super) fn matches(&self, digest: Option<&str>) -> bool {
        match &self.identity {
            Identity::Sha256(own) | Identity::GitBlob(own) => {
                digest.is_some_and(|digest| own.eq_ignore_ascii_case(digest))
            }
            Identity::Version(_) => true,
        }
    }
}

/// Whether a name is a plain file name, without folders, control characters or a leading dot.
pub(super) fn is_plain(name: &str) -> bool {
    let is_odd = |c: char| matches!(c, '/' | '\\') || c.is_control();
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && !name.contains(is_odd)
}

/// Whether a file name has the extension of GGUF.
pub(super) fn is_gguf(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// An incremental digest.
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha1(Sha1),
    None,
}

impl Hasher {
    /// Hashes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha1(hash) => hash.update(bytes),
            Hasher::None => {}
        }
    }

    /// Returns the digest in hex; `None` if the file has none.
    pub(super) fn digest(self) -> Option<String> {
        match self {
            Hasher::Sha256(hash) => Some(hex(&hash.finalize())),
            Hasher::Sha1(hash) => Some(hex(&hash.finalize())),
            Hasher::None => None,
        }
    }
}

/// Returns the bytes of all files together.
pub(super) fn total_bytes(files: &[RemoteFile]) -> u64 {
    let bytes = files.iter().map(|file| file.bytes);
    bytes.fold(0, u64::saturating_add)
}

/// Returns the identity of a listing of `location`.
pub(super) fn fingerprint(location: &str, files: &[RemoteFile]) -> String {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    format!("{location}\n{files:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_digests_match_hub_and_git() {
        let digest = |identity| {
            let file = RemoteFile {
                name: "x".into(),
                bytes: 12,
                identity,
            };
            let mut hasher = file.hasher();
            hasher.update(b"hello ");
            hasher.update(b"world\n");
            let digest = hasher.digest();
            (file.matches(digest.as_deref()), digest)
        };
        // printf 'hello world\n' | git hash-object --stdin; the same | sha256sum
        let blob = "3b18e512dba79e4c8300dd08aeb37f8e728b8dad";
        let sha = "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";
        assert_eq!(
            digest(Identity::GitBlob(blob.into())),
            (true, Some(blob.into()))
        );
        assert_eq!(
            digest(Identity::Sha256(sha.to_uppercase())),
            (true, Some(sha.into()))
        );
        assert!(!digest(Identity::Sha256(blob.into())).0);
        assert_eq!(digest(Identity::Version(None)), (true, None));
    }
}
