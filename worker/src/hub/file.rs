//! A file as its origin lists it: name, size, and what its bytes hash to.

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
    /// What its bytes are known by.
    pub identity: Identity,
}

/// What the bytes of a file are known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// SHA-256, in hex: files that the hub keeps in large file storage.
    Sha256(String),
    /// SHA-1 of git's blob, in hex: all other files of the hub.
    GitBlob(String),
    /// The version that a store names; its bytes hash to nothing that is known.
    Version(Option<String>),
}

impl RemoteFile {
    /// Whether it holds weights as safetensors.
    pub(super) fn is_safetensors(&self) -> bool {
        self.name.ends_with(".safetensors")
    }

    /// Whether it is a GGUF file.
    pub(super) fn is_gguf(&self) -> bool {
        is_gguf(&self.name)
    }

    /// Begins to hash its bytes.
    pub(super) fn hashing(&self) -> Hashing {
        match &self.identity {
            Identity::Sha256(_) => Hashing::Sha256(Sha256::new()),
            Identity::GitBlob(_) => {
                Hashing::Sha1(Sha1::new_with_prefix(format!("blob {}\0", self.bytes)))
            }
            Identity::Version(_) => Hashing::Nothing,
        }
    }

    /// Whether bytes with this digest are its own.
    pub(super) fn is(&self, digest: Option<&str>) -> bool {
        match &self.identity {
            Identity::Sha256(own) | Identity::GitBlob(own) => {
                digest.is_some_and(|digest| own.eq_ignore_ascii_case(digest))
            }
            Identity::Version(_) => true,
        }
    }
}

/// Whether a name is one of a file in its folder, that no system reads as anything else.
pub(super) fn is_plain(name: &str) -> bool {
    let is_odd = |c: char| matches!(c, '/' | '\\') || c.is_control();
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && !name.contains(is_odd)
}

/// Whether a name is that of a GGUF file.
pub(super) fn is_gguf(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// A digest in the making.
pub(super) enum Hashing {
    Sha256(Sha256),
    Sha1(Sha1),
    Nothing,
}

impl Hashing {
    /// Takes in the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hashing::Sha256(hash) => hash.update(bytes),
            Hashing::Sha1(hash) => hash.update(bytes),
            Hashing::Nothing => {}
        }
    }

    /// The digest in hex, where there is one.
    pub(super) fn digest(self) -> Option<String> {
        match self {
            Hashing::Sha256(hash) => Some(hex(&hash.finalize())),
            Hashing::Sha1(hash) => Some(hex(&hash.finalize())),
            Hashing::Nothing => None,
        }
    }
}

/// Bytes of all files.
pub(super) fn total(files: &[RemoteFile]) -> u64 {
    let bytes = files.iter().map(|file| file.bytes);
    bytes.fold(0, u64::saturating_add)
}

/// What a listing is known by, with the place that it is of.
pub(super) fn fingerprint(place: &str, files: &[RemoteFile]) -> String {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    format!("{place}\n{files:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_hub_and_of_git() {
        let digest = |identity| {
            let file = RemoteFile {
                name: "x".into(),
                bytes: 12,
                identity,
            };
            let mut hashing = file.hashing();
            hashing.update(b"hello ");
            hashing.update(b"world\n");
            let digest = hashing.digest();
            (file.is(digest.as_deref()), digest)
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
