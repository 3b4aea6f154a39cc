//! Tokens for the servers behind us, at rest: one file, each entry sealed with ChaCha20-Poly1305 under a key
//! in a 0600 file beside it. Who has only a copy of the one file has nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use super::credential::Credential;

/// No other use of this key begins with these bytes; the server's name follows.
const PURPOSE: &str = "countersign/tokens/v1\0";

/// What is signed in, by the server's name. Read without a lock.
pub(super) struct Vault {
    file: PathBuf,
    key: PathBuf,
    held: ArcSwap<BTreeMap<String, Arc<Credential>>>,
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    v: u32,
    /// Nonce, ciphertext and tag, in base64.
    servers: BTreeMap<String, String>,
}

impl Vault {
    /// Beside the store: `<store>.tokens` and `<store>.tokens-key`. An entry that the key does not open is
    /// as good as none.
    ///
    /// # Errors
    /// In words: a file that is there and cannot be read.
    pub(super) fn open(store: &Path) -> Result<Self, String> {
        let (file, key) = (beside(store, "tokens"), beside(store, "tokens-key"));
        let held = ArcSwap::from_pointee(read(&file, &key)?);
        Ok(Self { file, key, held, writing: Mutex::default() })
    }

    pub(super) fn get(&self, server: &str) -> Option<Arc<Credential>> {
        self.held.load().get(server).cloned()
    }

    /// On the disk before anybody sees it.
    ///
    /// # Errors
    /// In words; nothing is changed then.
    pub(super) fn put(&self, server: &str, credential: Credential) -> Result<(), String> {
        self.change(|all| all.insert(server.to_owned(), Arc::new(credential))).map(|_| ())
    }

    /// Was there anything to forget?
    ///
    /// # Errors
    /// In words; nothing is changed then.
    pub(super) fn forget(&self, server: &str) -> Result<bool, String> {
        if self.get(server).is_none() {
            return Ok(false);
        }
        self.change(|all| all.remove(server)).map(|was| was.is_some())
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Arc<Credential>>) -> T,
    ) -> Result<T, String> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = BTreeMap::clone(&self.held.load());
        let changed = change(&mut all);
        let key = self.key().map_err(|error| unusable(&self.key, &error))?;
        let sealed = all.iter().map(|(name, credential)| Ok((name.clone(), seal(&key, name, credential)?)));
        let sealed = Sealed { v: 1, servers: sealed.collect::<Result<_, String>>()? };
        let text = serde_json::to_string(&sealed).map_err(|error| error.to_string())?;
        replace(&self.file, text.as_bytes()).map_err(|error| unusable(&self.file, &error))?;
        self.held.store(Arc::new(all));
        Ok(changed)
    }

    /// Made when it is first needed.
    fn key(&self) -> io::Result<LessSafeKey> {
        if let Some(key) = read_key(&self.key)? {
            return Ok(key);
        }
        let bytes: [u8; 32] = rand::random();
        replace(&self.key, BASE64_STANDARD.encode(bytes).as_bytes())?;
        aead(&bytes)
    }
}

fn read(file: &Path, key: &Path) -> Result<BTreeMap<String, Arc<Credential>>, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unusable(file, &error)),
    };
    let key = read_key(key).map_err(|error| unusable(key, &error))?;
    let sealed: Sealed =
        serde_json::from_str(&text).map_err(|error| format!("{} is damaged: {error}", file.display()))?;
    let mut held = BTreeMap::new();
    for (name, sealed) in sealed.servers {
        match key.as_ref().and_then(|key| open(key, &name, &sealed)) {
            Some(credential) => {
                held.insert(name, Arc::new(credential));
            }
            None => tracing::error!(
                server.name = name,
                "the stored sign-in cannot be opened with its key: sign in again"
            ),
        }
    }
    Ok(held)
}

fn read_key(path: &Path) -> io::Result<Option<LessSafeKey>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| io::ErrorKind::InvalidData)?;
    aead(&bytes).map(Some)
}

fn aead(bytes: &[u8]) -> io::Result<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(LessSafeKey::new(key))
}

/// A random nonce does: a key sees a few writes a day, not 2^32.
fn seal(key: &LessSafeKey, name: &str, credential: &Credential) -> Result<String, String> {
    let mut bytes = serde_json::to_vec(credential).map_err(|error| error.to_string())?;
    let nonce: [u8; NONCE_LEN] = rand::random();
    let aad = Aad::from(format!("{PURPOSE}{name}"));
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
        .map_err(|_| "the tokens cannot be sealed")?;
    Ok(BASE64_STANDARD.encode([nonce.as_slice(), &bytes].concat()))
}

fn open(key: &LessSafeKey, name: &str, sealed: &str) -> Option<Credential> {
    let mut bytes = BASE64_STANDARD.decode(sealed).ok()?;
    let rest = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(rest.0).ok()?;
    let plain = key.open_in_place(nonce, Aad::from(format!("{PURPOSE}{name}")), rest.1).ok()?;
    serde_json::from_slice(plain).ok()
}

/// Written under another name and moved into place: a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(path, "new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn unusable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be used: {error}", path.display())
}
