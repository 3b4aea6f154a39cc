//! `audit`: verify, export and checkpoint, on a store or on an export of it.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Subcommand;
use ed25519_dalek::{VerifyingKey, pkcs8::DecodePublicKey as _};

use super::{orders::At, print};
use crate::{
    config::Config,
    identity,
    ledger::{Head, HeadError, Report, Verifier},
    store::sqlite::ReadOnly,
};

/// Exit code of a ledger that is not intact.
const NOT_INTACT: u8 = 4;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Prove the audit log, or an export of it, offline. Exit code 4 names the first bad entry.
    Verify {
        /// An export; without it: the configured store.
        export: Option<PathBuf>,
        /// The public key, PEM; without it: the one beside the configured store, if there is one.
        #[arg(long)]
        key: Option<PathBuf>,
        /// A signed head from before: finds what was cut off since.
        #[arg(long)]
        since: Option<PathBuf>,
    },
    /// Every entry, one JSON line each, on stdout.
    Export {
        /// With what agents and people wrote.
        #[arg(long)]
        payloads: bool,
    },
    /// The last signed head.
    Checkpoint,
}

pub(super) fn run(command: Audit, at: &At) -> anyhow::Result<ExitCode> {
    match command {
        Audit::Verify { export, key, since } => verify(export, key, since, at),
        Audit::Export { payloads } => {
            store(at)?.export(payloads, |line| {
                print::bytes(line)?;
                print::bytes(b"\n")
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Audit::Checkpoint => {
            let head = store(at)?.signed_head()?;
            print::line(head.context("nothing is signed yet: the audit log is empty")?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn store(at: &At) -> anyhow::Result<ReadOnly> {
    Ok(ReadOnly::open(&at.load_here()?.store_path()?)?)
}

fn verify(
    export: Option<PathBuf>,
    key: Option<PathBuf>,
    since: Option<PathBuf>,
    at: &At,
) -> anyhow::Result<ExitCode> {
    let key = match (&key, &export) {
        (Some(path), _) => Some(public_key(path)?),
        (None, None) => Some(public_key(&beside(&at.load_here()?)?)?),
        (None, Some(_)) => {
            let beside = beside(&at.load()?)?;
            beside.exists().then(|| public_key(&beside)).transpose()?
        }
    };
    let since = match (since, &key) {
        (Some(path), Some(key)) => {
            let note = std::fs::read_to_string(&path)
                .with_context(|| format!("the head {} cannot be read", path.display()))?;
            Some(
                Head::open(&note, key)
                    .with_context(|| format!("{} is no head of this key", path.display()))?,
            )
        }
        (Some(_), None) => anyhow::bail!("--since needs --key, which proves that the head is genuine"),
        (None, _) => None,
    };
    let report = match export {
        Some(path) => verify_export(&path, Verifier::new(key, since))?,
        None => verify_store(&store(at)?, key, since)?,
    };
    Ok(tell(&report, at.is_json()))
}

/// With the rows of credentials, and by the head that lies beside the store unless another is given.
fn verify_store(store: &ReadOnly, key: Option<VerifyingKey>, since: Option<Head>) -> anyhow::Result<Report> {
    let kept = if since.is_none() { store.kept_head()? } else { None };
    let since = match (since, kept, &key) {
        (None, Some(note), Some(key)) => match Head::open(&note, key) {
            Ok(head) => Some(head),
            // A torn file is no head; the store's own heads still count.
            Err(HeadError::Form(_) | HeadError::Key) => None,
            Err(error) => anyhow::bail!("the head beside the store: {error}"),
        },
        (since, _, _) => since,
    };
    let mut report = store.verify(key, since)?;
    if report.bad.is_none() {
        report.bad = identity::audit::first_changed(store)?;
    }
    Ok(report)
}

/// Where the store's public key lies.
fn beside(config: &Config) -> anyhow::Result<PathBuf> {
    let mut path = config.store_path()?.into_os_string();
    path.push(".pub");
    Ok(path.into())
}

fn public_key(path: &Path) -> anyhow::Result<VerifyingKey> {
    let pem = std::fs::read_to_string(path)
        .with_context(|| format!("the public key {} cannot be read; name one with --key", path.display()))?;
    VerifyingKey::from_public_key_pem(&pem)
        .map_err(|error| anyhow::anyhow!("{} is no Ed25519 public key: {error}", path.display()))
}

/// `-` is stdin.
fn verify_export(path: &Path, mut verifier: Verifier) -> anyhow::Result<Report> {
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        anyhow::ensure!(!std::io::stdin().is_terminal(), "an export is expected on stdin");
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?)
    };
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line longer than an entry and its payloads can be is not an export of ours.
        let read = source.by_ref().take(256 << 20).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(verifier.finish());
        }
        verifier.line(line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

fn tell(report: &Report, json: bool) -> ExitCode {
    let bad = report.bad.as_ref();
    if json {
        let bad = bad.map(|bad| serde_json::json!({ "number": bad.number, "why": bad.why }));
        print::json(&serde_json::json!({
            "intact": report.bad.is_none(), "entries": report.entries, "heads": report.heads,
            "proven": report.proven, "payloads": report.payloads, "leaves": report.leaves,
            "bad": bad, "not_proven": report.unproven,
        }));
    } else {
        match bad {
            Some(bad) => print::line(&format!("not intact: entry {}: {}", bad.number, bad.why)),
            None => print::line(&format!(
                "intact: {} entries, {} signed heads, {} texts; proven up to entry {}",
                report.entries, report.heads, report.payloads, report.proven
            )),
        }
        for sentence in &report.unproven {
            eprintln!("this run does not prove {sentence}");
        }
    }
    if bad.is_none() { ExitCode::SUCCESS } else { ExitCode::from(NOT_INTACT) }
}
