//! What people may look up beside the broker: policy files, the signed head, troubles.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::{
    api::{Catalog, PolicyFile},
    config::Policies,
    notify::Notify,
    store::sqlite::Sqlite,
};

const LACKED_HEAD: &str = "the kept head was missing at the start: whether an older copy of the store was put in its \
     place cannot be told; compare it with your last checkpoint";

/// Fed by each reload; read by the API.
pub struct Shelf {
    store: Arc<Sqlite>,
    files: Mutex<Vec<PolicyFile>>,
    /// Why the last change of the configuration was refused.
    refused: Mutex<Option<String>>,
    /// Where people are told; set once at start.
    pub(super) notify: OnceLock<Arc<Notify>>,
}

impl Shelf {
    pub(super) fn new(store: Arc<Sqlite>) -> Self {
        Self { store, files: Mutex::default(), refused: Mutex::default(), notify: OnceLock::new() }
    }

    /// These files are in force.
    pub(super) fn put(&self, policies: &Policies) {
        let file = |(name, loaded): (&String, &crate::config::LoadedPolicy)| PolicyFile {
            name: name.clone(),
            digest: loaded.policy.digest.clone(),
            error: None,
            text: loaded.text.clone(),
        };
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) =
            policies.files.iter().map(file).collect();
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The files on the disk are not in force, and why. A file that is named in the reason shows it.
    pub(super) fn refuse(&self, why: &str) {
        for file in self.files.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            file.error = why.contains(&file.name).then(|| why.to_owned());
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }
}

impl Catalog for Shelf {
    fn policies(&self) -> Vec<PolicyFile> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn checkpoint(&self) -> Option<String> {
        self.store.signed_head().map(|note| note.to_string())
    }

    fn troubles(&self) -> Vec<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = refused.map(|why| format!("the configuration on the disk is not in force: {why}"));
        let untold = self.notify.get().map(|notify| notify.troubles()).unwrap_or_default();
        let lacked = self.store.lacked_head().then(|| LACKED_HEAD.to_owned());
        lacked.into_iter().chain(refused).chain(untold).collect()
    }
}
