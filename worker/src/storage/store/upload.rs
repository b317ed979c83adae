//! How content is uploaded to an object store: in one request, or a large file in parts. It knows no object's name.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::{Error as ObjectError, MultipartUpload, WriteMultipart};
use scalequest_engine::heartbeat::beat;
use tokio::io::AsyncReadExt;

use super::{Content, StoreError};

/// Bytes sent or read in one request; larger objects are transferred in parts.
pub(super) const PART_BYTES: u64 = 16 << 20;

/// Parts that are uploaded concurrently.
const CONCURRENT_PARTS: usize = 4;

/// How content is uploaded.
pub(super) enum Upload {
    /// In one request.
    Single(Bytes),
    /// A file in parts.
    Multipart(PathBuf),
}

impl Upload {
    /// Returns how to upload `content`; reads a small file.
    pub(super) fn of(content: &Content) -> Result<Self, StoreError> {
        match content {
            Content::Bytes(bytes) => Ok(Upload::Single(bytes.clone())),
            Content::File(path) => {
                let fail = |e| StoreError::from_io("read", path, e);
                match std::fs::metadata(path).map_err(fail)?.len() > PART_BYTES {
                    true => Ok(Upload::Multipart(path.clone())),
                    false => Ok(Upload::Single(std::fs::read(path).map_err(fail)?.into())),
                }
            }
        }
    }
}

/// Uploads `file` as the parts of `upload`.
pub(super) async fn upload_in_parts(
    upload: Box<dyn MultipartUpload>,
    file: &Path,
) -> Result<(), ObjectError> {
    let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES as usize);
    match send(&mut parts, file).await {
        Ok(()) => parts.finish().await.map(drop),
        Err(error) => {
            // Unfinished parts are billed; if the abort fails too, the bucket's lifecycle rules remove them.
            let _ = parts.abort().await;
            Err(error)
        }
    }
}

async fn send(parts: &mut WriteMultipart, file: &Path) -> Result<(), ObjectError> {
    let mut file = tokio::fs::File::open(file)
        .await
        .map_err(local_file_error)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut chunk).await.map_err(local_file_error)?;
        if read == 0 {
            return Ok(());
        }
        parts.wait_for_capacity(CONCURRENT_PARTS).await?;
        parts.write(&chunk[..read]);
        beat();
    }
}

fn local_file_error(error: std::io::Error) -> ObjectError {
    ObjectError::Generic {
        store: "local file",
        source: error.into(),
    }
}
