//! The files beside the database: the lock that makes one process its writer, and the signing key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};
use rustix::fs::{FlockOperation, flock};

use crate::store::StoreError;

/// Held for as long as this process owns the store; the system lets go of it when the process dies.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read: closing it lets go of the lock")] File);

impl Lock {
    /// # Errors
    /// `Locked` names the process that holds it.
    pub fn take(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, "lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unusable(&path, &error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(StoreError::Locked(format!("pid {}, {}", pid.trim(), path.display())));
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| unusable(&path, &error))?;
        Ok(Self(file))
    }

    /// Does a process own this store now?
    pub fn is_held(store: &Path) -> bool {
        let Ok(file) = File::open(beside(store, "lock")) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }
}

/// Creates the database's file so that nobody else can read it; one that exists keeps its mode.
pub fn create_private(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The ledger's Ed25519 key, made at the first start; its public half lies beside for auditors.
pub fn signing_key(store: &Path) -> Result<SigningKey, StoreError> {
    let path = beside(store, "key");
    match fs::read_to_string(&path) {
        Ok(pem) => SigningKey::from_pkcs8_pem(&pem)
            .map_err(|error| StoreError::Damaged(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_signing_key(store, &path),
        Err(error) => Err(unusable(&path, &error)),
    }
}

/// Written under another name and moved into place: a crash leaves a whole key or none.
fn make_signing_key(store: &Path, path: &Path) -> Result<SigningKey, StoreError> {
    let key = SigningKey::from_bytes(&rand::random());
    let broken = |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("a new key: {error}"));
    let secret = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| broken(&error))?;
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| broken(&error))?;
    write_file(&beside(store, "pub"), public.as_bytes(), 0o644)?;
    write_file(path, secret.as_bytes(), 0o600)?;
    Ok(key)
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let fresh = beside(path, "new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    write().map_err(|error| unusable(path, &error))
}

/// The ending of the file that holds the last signed head: whoever puts an older store in place of a newer
/// one must remember this file too.
pub const HEAD: &str = "head";

/// Follows the commit, so it is never ahead of the store. Not forced to the disk: an older head is one too.
pub fn keep_head(store: &Path, note: &str) -> io::Result<()> {
    let (path, fresh) = (beside(store, HEAD), beside(store, "head.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&fresh)?;
    file.write_all(note.as_bytes())?;
    fs::rename(&fresh, &path)
}

/// `None` where no head was kept yet.
pub fn kept_head(store: &Path) -> Result<Option<String>, StoreError> {
    let path = beside(store, HEAD);
    match fs::read(&path) {
        Ok(note) => Ok(Some(String::from_utf8_lossy(&note).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&path, &error)),
    }
}

/// `<store>.<ending>`.
pub fn beside(store: &Path, ending: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
