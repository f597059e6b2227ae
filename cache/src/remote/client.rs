//! [`Client`]: objects in a bucket, a folder or on a web server, by their address. The one file that knows `object_store` and the
//! asynchronous world behind it; its methods wait, and any number of threads may call them. Credentials and endpoints come from the
//! variables that each service's own tools read (`AWS_...`, `GOOGLE_...`, `AZURE_...`). It does not know what the objects mean.

use std::io::{Read, Write};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use fs_err::File;
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};
use plan::Digest;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::hashing::FileHash;
use crate::{Result, StoreError};

/// Files larger than this go up in parts of this size, in bytes.
const PART: u64 = 8 << 20;
/// Most parts that a file may have; services allow 10,000.
const MOST_PARTS: u64 = 9_000;
/// Parts of one file under way at a time.
const PARTS_AT_ONCE: usize = 3;
/// Transfers under way at a time.
const AT_ONCE: usize = 16;
/// How often a download that broke off goes on from where it was.
const MOST_RESUMES: u32 = 5;

/// Reads and writes objects below one address.
#[derive(Debug)]
pub(super) struct Client {
    store: Arc<dyn ObjectStore>,
    base: Path,
    url: String,
    runtime: Runtime,
    permits: Semaphore,
    is_web: bool,
}

/// Why a transfer broke off.
enum Break {
    /// There is no such object.
    Absent,
    /// It may work another time.
    Trouble(StoreError),
    /// It will not.
    Final(StoreError),
}

impl Client {
    /// Connects to nothing yet. `url` is `s3://`, `gs://`, `az://`, `http://`, `https://`, `file://`, or a folder.
    pub(super) fn open(url: &str) -> Result<Self> {
        // A second call finds the first one's choice, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("remote").build()?;
        let _inside = runtime.enter();
        let (store, base) = connect(url)?;
        drop(_inside);
        let url = url.trim_end_matches('/').to_owned();
        let is_web = url.starts_with("http");
        Ok(Self { store, base, url, runtime, permits: Semaphore::new(AT_ONCE), is_web })
    }

    /// The address of an object, for people.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// A small object; none if there is none.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let read = async {
            let found = self.store.get(&self.path(name)).await?;
            if found.meta.size > most {
                return Ok(Err(found.meta.size));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(found.meta.size).unwrap_or(0));
            let mut stream = found.into_stream();
            while let Some(chunk) = stream.next().await {
                bytes.extend_from_slice(&chunk?);
                if bytes.len() as u64 > most {
                    return Ok(Err(bytes.len() as u64));
                }
            }
            Ok(Ok(bytes))
        };
        match self.wait(read) {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(size)) => {
                let reason = format!("it has {size} bytes, {most} are allowed");
                Err(StoreError::Refused { place: self.place(name), reason })
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.trouble(name, &error)),
        }
    }

    /// Size of an object in bytes; none if there is none.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.wait(async { self.store.head(&self.path(name)).await }) {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.trouble(name, &error)),
        }
    }

    /// Writes a small object as a whole.
    pub(super) fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        if self.is_web {
            return Err(StoreError::Remote {
                place: self.place(name),
                reason: "a web server can only be read from".into(),
                advice: "push to s3://, gs://, az:// or a folder",
            });
        }
        let written = self.wait(async { self.store.put(&self.path(name), bytes.into()).await });
        written.map(drop).map_err(|error| self.trouble(name, &error))
    }

    /// Writes a file as an object, unless its bytes are no longer those of `wanted`.
    pub(super) fn upload(&self, name: &str, file: &FilePath, wanted: FileHash) -> Result<()> {
        if wanted.bytes > PART {
            return self.upload_parts(name, file, wanted);
        }
        let bytes = fs::read(file)?;
        self.compare(file.display().to_string(), wanted, bytes.len() as u64, &blake3::hash(&bytes))?;
        self.write(name, bytes)
    }

    fn upload_parts(&self, name: &str, file: &FilePath, wanted: FileHash) -> Result<()> {
        let part = PART.max(wanted.bytes.div_ceil(MOST_PARTS)) as usize;
        let mut source = File::open(file)?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0_u64);
        let trouble = |error| self.trouble(name, &error);
        let upload = async {
            let _permit = self.permits.acquire().await;
            let upload = self.store.put_multipart(&self.path(name)).await.map_err(trouble)?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, part);
            let read: Result<()> = loop {
                if let Err(error) = writer.wait_for_capacity(PARTS_AT_ONCE).await {
                    break Err(trouble(error));
                }
                let mut chunk = Vec::with_capacity(part);
                match Read::by_ref(&mut source).take(part as u64).read_to_end(&mut chunk) {
                    Ok(0) => break self.compare(file.display().to_string(), wanted, bytes, &hasher.finalize()),
                    Ok(count) => bytes += count as u64,
                    Err(error) => break Err(error.into()),
                }
                hasher.update(&chunk);
                writer.put(chunk.into());
            };
            match read {
                Ok(()) => writer.finish().await.map(drop).map_err(trouble),
                Err(error) => {
                    // What has arrived of it is worth nothing; should this fail too, the service forgets it some day.
                    let _ = writer.abort().await;
                    Err(error)
                }
            }
        };
        self.runtime.block_on(upload)
    }

    /// Writes an object to the file `to`, going on from what that holds already; false if there is no such object. The file is there
    /// in the end only if its bytes are those of `wanted`.
    pub(super) fn download(&self, name: &str, to: &FilePath, wanted: FileHash) -> Result<bool> {
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(to)?;
        let (mut hasher, mut bytes) = take_up(&mut file, wanted)?;
        let mut resumed = bytes > 0;
        let mut attempt = 0;
        loop {
            let outcome = if bytes == wanted.bytes {
                Ok(())
            } else {
                self.runtime.block_on(self.stream(name, &mut file, &mut hasher, &mut bytes, wanted))
            };
            match outcome {
                Ok(()) => match self.compare(self.place(name), wanted, bytes, &hasher.finalize()) {
                    Ok(()) => return Ok(true),
                    // What an earlier process left may have been broken.
                    Err(_) if resumed => {
                        resumed = false;
                        file.set_len(0)?;
                        (hasher, bytes) = take_up(&mut file, wanted)?;
                    }
                    Err(error) => {
                        fs::remove_file(to)?;
                        return Err(error);
                    }
                },
                Err(Break::Absent) => {
                    fs::remove_file(to)?;
                    return Ok(false);
                }
                Err(Break::Trouble(error)) if attempt < MOST_RESUMES => {
                    // Some web servers know no ranges, which the library tells in words only.
                    if bytes > 0 && error.to_string().contains("Range request not supported") {
                        file.set_len(0)?;
                        (hasher, bytes) = take_up(&mut file, wanted)?;
                    }
                    std::thread::sleep(Duration::from_millis(200) * 2_u32.pow(attempt));
                    attempt += 1;
                }
                Err(Break::Trouble(error) | Break::Final(error)) => return Err(error),
            }
        }
    }

    async fn stream(
        &self,
        name: &str,
        file: &mut File,
        hasher: &mut blake3::Hasher,
        bytes: &mut u64,
        wanted: FileHash,
    ) -> std::result::Result<(), Break> {
        let _permit = self.permits.acquire().await;
        let trouble = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => Break::Absent,
            error => Break::Trouble(self.trouble(name, &error)),
        };
        let range = (*bytes > 0).then_some(GetRange::Offset(*bytes));
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(name), options).await.map_err(trouble)?;
        if found.meta.size != wanted.bytes {
            return Err(Break::Final(self.wrong(self.place(name), wanted, format!("{} bytes", found.meta.size))));
        }
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(trouble)?;
            if *bytes + chunk.len() as u64 > wanted.bytes {
                return Err(Break::Final(self.wrong(self.place(name), wanted, "more bytes".into())));
            }
            file.write_all(&chunk).map_err(|error| Break::Final(error.into()))?;
            hasher.update(&chunk);
            *bytes += chunk.len() as u64;
        }
        Ok(())
    }

    fn compare(&self, place: String, wanted: FileHash, bytes: u64, hash: &blake3::Hash) -> Result<()> {
        let digest = Digest::from_bytes(*hash.as_bytes());
        if bytes == wanted.bytes && digest == wanted.digest {
            return Ok(());
        }
        Err(self.wrong(place, wanted, format!("{bytes} bytes with digest {}", digest.short())))
    }

    #[expect(clippy::unused_self, reason = "reads as what it is at its callers")]
    fn wrong(&self, place: String, wanted: FileHash, found: String) -> StoreError {
        StoreError::WrongBytes { place, wanted: format!("{} bytes with digest {}", wanted.bytes, wanted.digest.short()), found }
    }

    fn wait<Outcome>(&self, act: impl Future<Output = object_store::Result<Outcome>>) -> object_store::Result<Outcome> {
        self.runtime.block_on(async {
            let _permit = self.permits.acquire().await;
            act.await
        })
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.base.clone(), |path, part| path.join(part))
    }

    fn trouble(&self, name: &str, error: &object_store::Error) -> StoreError {
        use object_store::Error;
        let advice = match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                "check the credentials in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, \
                 AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY) and what they may do"
            }
            Error::NotFound { .. } => "check that the bucket or folder exists",
            _ => "check the address and the network, then try again: what has been transferred stays",
        };
        StoreError::Remote { place: self.place(name), reason: chain(error), advice }
    }
}

/// Hashes what a file holds of `wanted` and goes to its end; empties it if it cannot be that.
fn take_up(file: &mut File, wanted: FileHash) -> Result<(blake3::Hasher, u64)> {
    use std::io::{Seek, SeekFrom};
    if file.metadata()?.len() > wanted.bytes {
        file.set_len(0)?;
    }
    file.seek(SeekFrom::Start(0))?;
    let (mut hasher, mut bytes, mut buffer) = (blake3::Hasher::new(), 0, vec![0; 1 << 17]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hasher, bytes));
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// The service and the place in it that an address means.
fn connect(url: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let refuse = |reason: String| StoreError::Remote {
        place: url.to_owned(),
        reason,
        advice: "an address is s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, https://host/prefix or a folder",
    };
    let built = |error: object_store::Error| refuse(chain(&error));
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(10),
        ..BackoffConfig::default()
    };
    let retry = RetryConfig { backoff, max_retries: 6, retry_timeout: Duration::from_secs(60) };
    let Some((scheme, rest)) = url.split_once("://") else { return folder(FilePath::new(url)).map_err(built) };
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if host.contains('@') {
        return Err(refuse("credentials do not belong into an address, which ends up in logs".into()));
    }
    let base = Path::parse(prefix.trim_end_matches('/')).map_err(|error| refuse(error.to_string()))?;
    let store: Arc<dyn ObjectStore> = match scheme {
        "file" if host.is_empty() => return folder(&FilePath::new("/").join(prefix)).map_err(built),
        _ if host.is_empty() => return Err(refuse("it names no bucket or host".into())),
        "s3" | "s3a" => Arc::new(AmazonS3Builder::from_env().with_bucket_name(host).with_retry(retry).build().map_err(built)?),
        "gs" => Arc::new(GoogleCloudStorageBuilder::from_env().with_bucket_name(host).with_retry(retry).build().map_err(built)?),
        "az" | "azure" => {
            Arc::new(MicrosoftAzureBuilder::from_env().with_container_name(host).with_retry(retry).build().map_err(built)?)
        }
        "http" | "https" => {
            let client = ClientOptions::new().with_allow_http(scheme == "http");
            let builder = HttpBuilder::new().with_url(format!("{scheme}://{host}")).with_client_options(client);
            Arc::new(builder.with_retry(retry).build().map_err(built)?)
        }
        other => return Err(refuse(format!("`{other}` is no kind of store that is known"))),
    };
    Ok((store, base))
}

/// A folder, which the first write makes.
fn folder(path: &FilePath) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    let generic = |error: std::io::Error| object_store::Error::Generic { store: "folder", source: error.into() };
    let base = Path::from_absolute_path(std::path::absolute(path).map_err(generic)?)?;
    Ok((Arc::new(LocalFileSystem::new().with_fsync(true)), base))
}

/// An error and what caused it, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
