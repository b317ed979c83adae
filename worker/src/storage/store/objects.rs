//! A store in S3, Google Cloud Storage or Azure. Requests are retried with exponential backoff; a create whose reply was lost is distinguished from
//! another writer's by its content. It knows nothing of stages.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{Error as ObjectError, GetOptions, ObjectStore, ObjectStoreExt, PutMode};
use scalequest_engine::heartbeat::beat;
use url::Url;

use super::access::Access;
use super::retry::with_retries;
use super::runtime::block_on;
use super::upload::{PART_BYTES, Upload, upload_in_parts};
use super::{Content, ObjectEntry, ObjectStat, PutOutcome, StoreError};
use crate::http::install_tls_provider;

/// Backoff between attempts to create an object that the store reports neither as created nor as existing.
const CREATE_BACKOFF: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// See [`super::Store`], which documents each operation.
#[derive(Debug)]
pub(super) struct ObjectPrefix {
    uri: String,
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
}

impl ObjectPrefix {
    pub(super) fn open(uri: &str, access: &Access) -> Result<Self, StoreError> {
        let invalid = |problem: String| StoreError::Location {
            location: uri.to_string(),
            problem,
        };
        let url = Url::parse(uri).map_err(|e| invalid(format!("not a URI: {e}")))?;
        if url.host_str().unwrap_or_default().is_empty() {
            return Err(invalid(
                "the URI names no bucket: write s3://bucket/prefix".into(),
            ));
        }
        let prefix = url.path().trim_matches('/').to_string();
        install_tls_provider();
        let built: Result<Arc<dyn ObjectStore>, ObjectError> = match url.scheme() {
            "s3" => {
                let options = access.options("AWS_");
                let builder = AmazonS3Builder::new()
                    .with_url(uri)
                    .with_retry(access.retry_config());
                let builder = options.fold(builder, |builder, (key, value)| {
                    builder.with_config(key, value)
                });
                builder.build().map(|store| Arc::new(store) as _)
            }
            "gs" => {
                let options = access.options("GOOGLE_");
                let builder = GoogleCloudStorageBuilder::new()
                    .with_url(uri)
                    .with_retry(access.retry_config());
                let builder = options.fold(builder, |builder, (key, value)| {
                    builder.with_config(key, value)
                });
                builder.build().map(|store| Arc::new(store) as _)
            }
            "az" => {
                let options = access.options("AZURE_");
                let builder = MicrosoftAzureBuilder::new()
                    .with_url(uri)
                    .with_retry(access.retry_config());
                let builder = options.fold(builder, |builder, (key, value)| {
                    builder.with_config(key, value)
                });
                builder.build().map(|store| Arc::new(store) as _)
            }
            _ => {
                return Err(invalid(
                    "only directories and s3://, gs:// and az:// URIs are supported".into(),
                ));
            }
        };
        let store = built
            .map_err(|e| invalid(format!("{e}: check the environment variables of the store")))?;
        let prefix = ObjectPath::parse(&prefix).map_err(|e| invalid(e.to_string()))?;
        Ok(ObjectPrefix {
            uri: uri.trim_end_matches('/').to_string(),
            store,
            prefix,
        })
    }

    /// Reads the object that the URI itself names.
    pub(super) fn get_root(&self) -> Result<Bytes, StoreError> {
        let found = self.fetch(self.prefix.clone())?;
        found.ok_or_else(|| StoreError::NotFound {
            object: self.uri.clone(),
        })
    }

    /// Reads at most the first `bytes` bytes of the object that the URI itself names.
    pub(super) fn get_root_start(&self, bytes: u64) -> Result<Bytes, StoreError> {
        let found = self.size("")?.ok_or_else(|| StoreError::NotFound {
            object: self.uri.clone(),
        })?;
        match found.min(bytes) {
            // Stores reject an empty range.
            0 => Ok(Bytes::new()),
            end => self.read_range("", 0..end, None),
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.fetch(self.object(path)?)
    }

    pub(super) fn scan(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        let Some(size) = self.size(path)? else {
            return Ok(false);
        };
        let mut start = 0;
        while start < size {
            let end = (start + PART_BYTES).min(size);
            let (store, object) = (self.store.clone(), self.object(path)?);
            let chunk = self.run("read", path, async move {
                with_retries(|| async { store.get_range(&object, start..end).await }).await
            })?;
            take(&chunk);
            start = end;
        }
        Ok(true)
    }

    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.stat(path)?.map(|stat| stat.bytes))
    }

    pub(super) fn stat(&self, path: &str) -> Result<Option<ObjectStat>, StoreError> {
        let (store, object) = (self.store.clone(), self.object(path)?);
        let found = self.run("read", path, async move {
            with_retries(|| async { store.head(&object).await }).await
        });
        none_if_not_found(found.map(|meta| ObjectStat {
            bytes: meta.size,
            version: meta.e_tag,
        }))
    }

    pub(super) fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        version: Option<&str>,
    ) -> Result<Bytes, StoreError> {
        let (store, object) = (self.store.clone(), self.object(path)?);
        let options = GetOptions {
            range: Some(range.into()),
            if_match: version.map(str::to_owned),
            ..GetOptions::default()
        };
        self.run("read", path, async move {
            with_retries(|| async {
                store
                    .get_opts(&object, options.clone())
                    .await?
                    .bytes()
                    .await
            })
            .await
        })
    }

    pub(super) fn put(&self, path: &str, content: &Content) -> Result<(), StoreError> {
        let (store, object) = (self.store.clone(), self.object(path)?);
        match Upload::of(content)? {
            Upload::Single(bytes) => self.run("write", path, async move {
                with_retries(|| async { store.put(&object, bytes.clone().into()).await.map(drop) })
                    .await
            }),
            Upload::Multipart(file) => self.run("write", path, async move {
                upload_in_parts(store.put_multipart(&object).await?, &file).await
            }),
        }
    }

    pub(super) fn put_new(&self, path: &str, content: &Content) -> Result<PutOutcome, StoreError> {
        let bytes = match Upload::of(content)? {
            Upload::Single(bytes) => bytes,
            Upload::Multipart(file) => {
                let length = std::fs::metadata(&file)
                    .map_err(|e| StoreError::from_io("read", &file, e))?
                    .len();
                if let Some(size) = self.size(path)? {
                    return Ok(PutOutcome::AlreadyExists {
                        same: size == length,
                    });
                }
                return self.put(path, content).map(|()| PutOutcome::Created);
            }
        };
        // A server may reject a create because of a concurrent one (S3: 409) that then fails, and another process may remove the object
        // between the two requests: then the object does not exist, and the create is retried.
        for pause in CREATE_BACKOFF {
            if self.create(path, &bytes)? {
                return Ok(PutOutcome::Created);
            }
            if let Some(existing) = self.get(path)? {
                return Ok(PutOutcome::AlreadyExists {
                    same: existing == bytes,
                });
            }
            std::thread::sleep(pause);
        }
        Err(StoreError::Failed {
            doing: "write",
            object: self.describe(path),
            source: "the store repeatedly reports both that it exists and that it does not".into(),
        })
    }

    /// Creates an object; returns false if the store reports that one exists.
    fn create(&self, path: &str, bytes: &Bytes) -> Result<bool, StoreError> {
        let (store, object) = (self.store.clone(), self.object(path)?);
        let payload = bytes.clone();
        self.run("write", path, async move {
            let attempt = || async {
                store
                    .put_opts(&object, payload.clone().into(), PutMode::Create.into())
                    .await
            };
            match with_retries(attempt).await {
                Ok(_) => Ok(true),
                Err(ObjectError::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    pub(super) fn is_empty_below(&self, prefix: &str) -> Result<bool, StoreError> {
        let (store, below) = (self.store.clone(), self.object(prefix)?);
        self.run("list", prefix, async move {
            let first =
                with_retries(|| async { store.list(Some(&below)).try_next().await }).await?;
            Ok(first.is_none())
        })
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>, StoreError> {
        let (store, below, base) = (
            self.store.clone(),
            self.object(prefix)?,
            self.prefix.clone(),
        );
        self.run("list", prefix, async move {
            let found = with_retries(|| async {
                let below = Some(&below).filter(|path| !path.as_ref().is_empty());
                store.list(below).try_collect::<Vec<_>>().await
            })
            .await?;
            let relative = |path: &ObjectPath| match base.as_ref().is_empty() {
                true => Some(path.to_string()),
                false => path
                    .as_ref()
                    .strip_prefix(base.as_ref())?
                    .strip_prefix('/')
                    .map(str::to_string),
            };
            let entry = |meta: object_store::ObjectMeta| {
                Some(ObjectEntry {
                    path: relative(&meta.location)?,
                    bytes: meta.size,
                })
            };
            Ok(found.into_iter().filter_map(entry).collect())
        })
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), StoreError> {
        let (store, object) = (self.store.clone(), self.object(path)?);
        let deleted = self.run("delete", path, async move {
            with_retries(|| async { store.delete(&object).await }).await
        });
        none_if_not_found(deleted).map(drop)
    }

    fn describe(&self, path: &str) -> String {
        match path.is_empty() {
            true => self.uri.clone(),
            false => format!("{}/{path}", self.uri),
        }
    }

    fn object(&self, path: &str) -> Result<ObjectPath, StoreError> {
        let joined = format!("{}/{path}", self.prefix);
        ObjectPath::parse(joined.trim_matches('/')).map_err(|e| StoreError::Location {
            location: self.describe(path),
            problem: e.to_string(),
        })
    }

    fn fetch(&self, object: ObjectPath) -> Result<Option<Bytes>, StoreError> {
        let store = self.store.clone();
        let name = object.to_string();
        let path = name
            .strip_prefix(self.prefix.as_ref())
            .unwrap_or_default()
            .trim_matches('/')
            .to_string();
        let found = self.run("read", &path, async move {
            with_retries(|| async {
                store
                    .get_opts(&object, GetOptions::default())
                    .await?
                    .bytes()
                    .await
            })
            .await
        });
        none_if_not_found(found)
    }

    fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        path: &str,
        future: impl Future<Output = Result<T, ObjectError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let object = || self.describe(path);
        let ended = block_on(future);
        beat();
        match ended {
            Ok(result) => result.map_err(|e| StoreError::from_object_store(doing, object(), e)),
            Err(e) => Err(StoreError::Failed {
                doing,
                object: object(),
                source: e.into(),
            }),
        }
    }
}

fn none_if_not_found<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
