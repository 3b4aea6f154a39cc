//! What the demo plays on: a temporary folder, a broker in this process, the sandbox behind it.

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    cli::{orders, reviewer::Reviewer},
    config::Config,
    serve::{self, Desk, Order, Running},
};

/// The server's name at the broker.
pub(super) const SERVER: &str = "healthomics";
pub(super) const AGENT: &str = "demo-agent";
const POLICY: &str = include_str!("../../../policies/demo.json");

pub(super) struct Stage {
    pub running: Running,
    pub folder: Folder,
    pub agent_token: String,
    pub reviewer: Reviewer,
    pub reviewer_name: String,
    /// Signs the reviewer in, once.
    pub link: String,
}

impl Stage {
    /// Starts everything; `port` 0 takes any that is free.
    pub(super) async fn build(port: u16) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        std::fs::write(folder.path().join("demo.json"), POLICY)?;
        let config =
            Config::parse(&config(port, &folder)?, None, folder.path().to_owned(), std::iter::empty())?;
        let running = serve::start(&config).await?;
        let desk = Desk::new(running.broker.clone(), running.local_url.clone());
        let (by, servers) = (orders::by(), vec![SERVER.to_owned()]);
        let add = Order::AgentAdd { name: AGENT.into(), servers, owner: None, policy: None, by: by.clone() };
        let agent = desk.carry_out(add).await?;
        let name = by.clone();
        let add = Order::ReviewerAdd { name: name.clone(), groups: Vec::new(), auditor: false, by };
        let person = desk.carry_out(add).await?;
        Ok(Self {
            agent_token: text(&agent, "token")?,
            reviewer: Reviewer::new(&running.public_url, &text(&person, "token")?)?,
            reviewer_name: name,
            link: text(&person, "link")?,
            running,
            folder,
        })
    }

    pub(super) fn door(&self) -> String {
        format!("{}/mcp/{SERVER}", self.running.public_url)
    }
}

fn text(answer: &Value, member: &str) -> anyhow::Result<String> {
    let text = answer.get(member).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("the broker gave no {member}"))
}

/// The broker's configuration: as anybody would write it, with this program as the server.
fn config(port: u16, folder: &Folder) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let program = program.to_str().context("this program's path is not UTF-8")?.to_owned();
    let state = folder.state();
    let state = state.to_str().context("the temporary folder's path is not UTF-8")?.to_owned();
    let command = toml::Value::from(vec![program, "sandbox".into(), "--state".into(), state]);
    Ok(format!(
        "listen = \"127.0.0.1:{port}\"\nstore = \"sqlite:countersign.db\"\n\
         [servers.{SERVER}]\ncommand = {command}\npolicy = \"demo.json\"\n"
    ))
}

/// A folder of one's own that vanishes with this value.
pub(super) struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "a folder of the command line, no id of a call")]
        let name = format!("countersign-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The sandbox's own state, as it writes it.
    pub(super) fn state(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.0.join("countersign.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
