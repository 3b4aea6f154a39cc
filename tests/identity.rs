//! Credentials over a real store: who is let in, and from when on no longer.

use std::{sync::Arc, time::Duration};

use countersign::{
    call::{Person, Role, Timestamp},
    identity::{ABSOLUTE, Access, GrantSettings, IDLE, Identity, IdentityError, LINK_TTL, audit},
    ledger::{AgentEvent, Fact, ReviewerEvent, Stream},
    store::{
        Store,
        sqlite::{OpenOptions, ReadOnly, Sqlite},
    },
};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct World {
    folder: TempDir,
    store: Arc<dyn Store>,
    identity: Arc<Identity>,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.db");
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path, OpenOptions::default()).unwrap());
    let identity = Identity::open(store.clone()).await.unwrap();
    World { folder, store, identity }
}

fn person(name: &str) -> Person {
    Person { name: name.into(), groups: vec!["ops".into()], role: Role::Reviewer, token: String::new() }
}

fn servers(names: &[&str]) -> GrantSettings {
    GrantSettings { servers: names.iter().map(|&name| name.to_owned()).collect(), ..GrantSettings::default() }
}

fn configured(name: &str, token: &str) -> (String, GrantSettings) {
    (name.to_owned(), GrantSettings { token: Some(token.into()), ..servers(&["*"]) })
}

fn token_of(link: &str) -> &str {
    link.strip_prefix("/login/").unwrap()
}

impl World {
    async fn facts(&self, stream: Stream) -> Vec<Fact> {
        self.store.stream(stream).await.unwrap().into_iter().map(|entry| entry.fact).collect()
    }
}

#[tokio::test]
async fn an_agents_token_names_its_grant_until_it_is_rotated_or_revoked() {
    let w = world().await;
    let first = w.identity.add_agent("bot", servers(&["a"]), "ann", NOW).await.unwrap();
    let grant = w.identity.grant(&first.token).unwrap();
    assert!(grant.reaches("a") && !grant.reaches("b"));

    let second = w.identity.rotate_agent("bot", "ann", NOW).await.unwrap();
    assert!(w.identity.grant(&first.token).is_none());
    assert_eq!(w.identity.grant(&second.token).unwrap().settings.servers, ["a"]);

    w.identity.revoke_agent("bot", "ann", NOW).await.unwrap();
    assert!(w.identity.grant(&second.token).is_none());
    let facts = w.facts(Stream::Agents).await;
    assert!(matches!(
        facts.as_slice(),
        [
            Fact::Agent(AgentEvent::AgentAdded { .. }),
            Fact::Agent(AgentEvent::AgentRotated { .. }),
            Fact::Agent(AgentEvent::AgentRevoked { .. })
        ]
    ));
    assert!(matches!(w.identity.revoke_agent("bot", "ann", NOW).await, Err(IdentityError::Unknown(_))));
}

#[tokio::test]
async fn an_agents_servers_change_and_its_token_stays() {
    let w = world().await;
    let token = w.identity.add_agent("bot", servers(&["a", "b"]), "ann", NOW).await.unwrap().token;
    let change = async |add: &[&str], remove: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (add, remove) = (names(add), names(remove));
        let changed = w.identity.change_servers("bot", (&add, &remove), "eve", NOW).await;
        changed.map_err(|error| error.to_string())
    };
    assert_eq!(change(&["c", "b"], &["a"]).await.unwrap(), ["b", "c"]);
    let grant = w.identity.grant(&token).unwrap();
    assert!(grant.reaches("c") && !grant.reaches("a"));
    assert!(change(&[], &["a"]).await.unwrap_err().contains("has no server \"a\" to remove; it has: b, c"));
    assert!(change(&["c"], &[]).await.unwrap_err().contains("nothing changes"));

    let Some(Fact::Agent(AgentEvent::AgentAdded { servers, by, .. })) = w.facts(Stream::Agents).await.pop()
    else {
        panic!("the ledger says nothing of the change")
    };
    assert_eq!((servers, by.as_str()), (vec!["b".to_owned(), "c".to_owned()], "eve"));
    let store = ReadOnly::open(&w.folder.path().join("countersign.db")).unwrap();
    assert_eq!(audit::first_changed(&store).unwrap(), None);
}

#[tokio::test]
async fn nothing_is_taken_from_an_agent_that_reaches_every_server() {
    let w = world().await;
    w.identity.add_agent("bot", servers(&["*", "a"]), "ann", NOW).await.unwrap();
    let change = async |add: &[&str], remove: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        w.identity.change_servers("bot", (&names(add), &names(remove)), "eve", NOW).await
    };
    for (add, remove) in [(&[][..], &["a"][..]), (&["*"], &["a", "*"]), (&["b"], &["a"])] {
        let why = change(add, remove).await.expect_err("refused").to_string();
        assert!(why.contains("remove \"*\", and add those that it is to keep"), "{why}");
    }
    assert_eq!(w.facts(Stream::Agents).await.len(), 1, "no change is on the ledger");
    assert_eq!(change(&["b"], &["*", "a"]).await.unwrap(), ["b"]);
}

#[tokio::test]
async fn grants_and_reviewers_outlive_the_process_and_secrets_are_not_in_its_files() {
    let World { folder, store, identity } = world().await;
    let agent = identity.add_agent("bot", servers(&["a"]), "ann", NOW).await.unwrap();
    let ann = identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();
    let link = ann.link.clone().unwrap();
    let (_, session) = identity.sign_in(&ann.token, NOW).await.unwrap().unwrap();
    drop((identity, store));

    let path = folder.path().join("countersign.db");
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path, OpenOptions::default()).unwrap());
    let identity = Identity::open(store).await.unwrap();
    assert_eq!(identity.grant(&agent.token).unwrap().name, "bot");
    assert_eq!(identity.person(Access::Token, &ann.token, NOW).await.unwrap().name, "ann");
    assert_eq!(identity.person(Access::Session, &session, NOW).await.unwrap().name, "ann");

    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&agent.token, &ann.token, &session, token_of(&link)] {
            let part = &secret.as_bytes()[4..30];
            assert!(!bytes.windows(part.len()).any(|window| window == part));
        }
    }
}

#[tokio::test]
async fn the_two_realms_never_mix() {
    let w = world().await;
    let agent = w.identity.add_agent("bot", servers(&["*"]), "ann", NOW).await.unwrap();
    let ann = w.identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();
    let (_, session) = w.identity.sign_in(&ann.token, NOW).await.unwrap().unwrap();
    for secret in [&ann.token, &session, token_of(ann.link.as_deref().unwrap())] {
        assert!(w.identity.grant(secret).is_none());
    }
    for access in [Access::Token, Access::Session] {
        assert!(w.identity.person(access, &agent.token, NOW).await.is_none());
    }
    assert!(w.identity.sign_in(&agent.token, NOW).await.unwrap().is_none());
    assert!(w.identity.sign_in(&session, NOW).await.unwrap().is_none());
    assert!(w.identity.spend_link(&agent.token, NOW).await.unwrap().is_none());
    assert!(w.identity.person(Access::Token, &session, NOW).await.is_none());
    assert!(w.identity.person(Access::Session, &ann.token, NOW).await.is_none());
    assert!(w.identity.set_config(&[configured("other", &ann.token)], NOW).await.is_err());
    assert!(w.identity.set_config(&[configured("other", &agent.token)], NOW).await.is_err());
}

#[tokio::test]
async fn a_link_signs_in_one_person_once_also_when_many_try_at_once() {
    let w = world().await;
    let ann = w.identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();
    let link = token_of(ann.link.as_deref().unwrap()).to_owned();
    // Two of them stand for two processes: each with a view and a lock of its own.
    let other = Identity::open(w.store.clone()).await.unwrap();
    let tries = (0..40).map(|i| {
        let identity = if i % 2 == 0 { w.identity.clone() } else { other.clone() };
        let link = link.clone();
        tokio::spawn(async move { identity.spend_link(&link, NOW).await.unwrap() })
    });
    let mut sessions = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        sessions.extend(one.await.unwrap());
    }
    assert_eq!(sessions.len(), 1);
    assert_eq!(w.identity.person(Access::Session, &sessions[0].1, NOW).await.unwrap().name, "ann");
    let facts = w.facts(Stream::Reviewers).await;
    let signed_in = |fact: &&Fact| matches!(fact, Fact::Reviewer(ReviewerEvent::SignedIn { .. }));
    assert_eq!(facts.iter().filter(signed_in).count(), 1);
}

#[tokio::test]
async fn a_link_is_void_after_its_time() {
    let w = world().await;
    let ann = w.identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();
    let link = token_of(ann.link.as_deref().unwrap()).to_owned();
    assert!(w.identity.spend_link(&link, NOW.plus(LINK_TTL)).await.unwrap().is_none());
    assert!(w.identity.spend_link(&link, NOW).await.unwrap().is_none(), "too late, then deleted");
    let short = w.identity.sign_in_link("ann", Duration::from_secs(60), NOW).await.unwrap();
    assert!(w.identity.spend_link(token_of(&short), NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_ends_when_idle_when_old_and_on_sign_out() {
    let w = world().await;
    let ann = w.identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();
    let begin = || async { w.identity.sign_in(&ann.token, NOW).await.unwrap().unwrap().1 };
    let second = Duration::from_millis(1);

    let idle = begin().await;
    assert!(w.identity.still(Access::Session, &idle, NOW.plus(IDLE - second)).await.unwrap().is_some());
    assert!(w.identity.person(Access::Session, &idle, NOW.plus(IDLE)).await.is_none());

    let used = begin().await;
    let mut now = NOW;
    while now.plus(IDLE / 2).since(NOW) < ABSOLUTE {
        now = now.plus(IDLE / 2);
        assert!(w.identity.person(Access::Session, &used, now).await.is_some(), "used every six hours");
    }
    assert!(w.identity.person(Access::Session, &used, NOW.plus(ABSOLUTE)).await.is_none());

    let ended = begin().await;
    w.identity.sign_out(&ended).await.unwrap();
    assert!(w.identity.person(Access::Session, &ended, NOW).await.is_none());
}

#[tokio::test]
async fn whatever_speaks_for_a_reviewer_ends_with_the_reviewer() {
    let w = world().await;
    let ann = w.identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();
    let link = token_of(ann.link.as_deref().unwrap()).to_owned();
    let (_, session) = w.identity.sign_in(&ann.token, NOW).await.unwrap().unwrap();
    w.identity.revoke_reviewer("ann", "(cli)", NOW).await.unwrap();
    let again = w.identity.add_reviewer(person("ann"), "(cli)", NOW).await.unwrap();

    assert!(w.identity.person(Access::Token, &ann.token, NOW).await.is_none());
    assert!(w.identity.person(Access::Session, &session, NOW).await.is_none());
    assert!(w.identity.spend_link(&link, NOW).await.unwrap().is_none());
    assert!(w.identity.person(Access::Token, &again.token, NOW).await.is_some());
}

#[tokio::test]
async fn configured_grants_live_beside_stored_ones_and_only_changes_reach_the_ledger() {
    let w = world().await;
    let stored = w.identity.add_agent("bot", servers(&["a"]), "ann", NOW).await.unwrap();
    let (one, two) = ("a-configured-token-1", "a-configured-token-2");
    let clash = w.identity.set_config(&[configured("bot", one)], NOW).await.unwrap_err();
    assert!(clash.to_string().contains("agents revoke bot"), "{clash}");

    w.identity.set_config(&[configured("ci", one)], NOW).await.unwrap();
    assert!(w.identity.grant(one).is_some() && w.identity.grant(&stored.token).is_some());
    let refused = w.identity.add_agent("ci", servers(&[]), "ann", NOW).await;
    assert!(
        matches!(&refused, Err(error) if error.to_string().contains("change [grants.ci] there")),
        "{refused:?}"
    );
    assert!(matches!(w.identity.rotate_agent("ci", "ann", NOW).await, Err(IdentityError::FromConfig(_))));

    w.identity.set_config(&[configured("ci", one)], NOW).await.unwrap();
    assert_eq!(w.facts(Stream::Agents).await.len(), 2, "an unchanged reload says nothing");
    w.identity.set_config(&[configured("ci", two)], NOW).await.unwrap();
    assert!(w.identity.grant(one).is_none() && w.identity.grant(two).is_some());

    let restarted = Identity::open(w.store.clone()).await.unwrap();
    assert!(restarted.grant(two).is_none(), "not in force before the configuration was read");
    restarted.set_config(&[], NOW).await.unwrap();
    let last = w.facts(Stream::Agents).await.pop();
    assert!(matches!(last, Some(Fact::Agent(AgentEvent::AgentRevoked { agent, .. })) if agent == "ci"));
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let w = world().await;
    let good = "a-configured-token-1";
    w.identity.set_config(&[configured("ci", good)], NOW).await.unwrap();
    for bad in [
        vec![configured("CI", good)],
        vec![configured("ci", "short")],
        vec![configured("ci", good), configured("other", good)],
    ] {
        assert!(w.identity.set_config(&bad, NOW).await.is_err(), "{bad:?}");
        assert!(w.identity.grant(good).is_some());
    }
}

#[tokio::test]
async fn two_processes_that_write_at_once_both_see_what_was_written() {
    let w = world().await;
    let other = Identity::open(w.store.clone()).await.unwrap();
    let one = w.identity.add_agent("one", servers(&["a"]), "ann", NOW).await.unwrap();
    let two = other.add_agent("two", servers(&["a"]), "ann", NOW).await.unwrap();
    assert!(other.grant(&one.token).is_some(), "the conflict made it read again");
    assert!(other.grant(&two.token).is_some());
    w.identity.reload().await.unwrap();
    assert!(w.identity.grant(&two.token).is_some());
    let both = other.directory();
    assert_eq!(both.agents_version, w.store.version(Stream::Agents).await.unwrap());
}

#[tokio::test]
async fn a_credential_that_the_ledger_does_not_know_is_named() {
    let w = world().await;
    let (grant, other) = (configured("built", "a-token-that-is-long-enough"), servers(&["a"]));
    w.identity.set_config(&[grant], NOW).await.unwrap();
    w.identity.add_agent("bot", other.clone(), "ann", NOW).await.unwrap();
    w.identity.add_agent("gone", other, "ann", NOW).await.unwrap();
    w.identity.revoke_agent("gone", "ann", NOW).await.unwrap();
    w.identity.rotate_agent("bot", "ann", NOW).await.unwrap();
    let ann = w.identity.add_reviewer(person("ann"), "root", NOW).await.unwrap();
    let bob = w.identity.add_reviewer(person("bob"), "root", NOW).await.unwrap();
    w.identity.spend_link(token_of(ann.link.as_deref().unwrap()), NOW).await.unwrap().unwrap();
    w.identity.sign_in(&bob.token, NOW).await.unwrap().unwrap();
    w.identity.revoke_reviewer("bob", "root", NOW).await.unwrap();
    let path = w.folder.path().join("countersign.db");
    let found = |path: &std::path::Path| audit::first_changed(&ReadOnly::open(path).unwrap()).unwrap();
    assert_eq!(found(&path), None);
    let swap = |from: &str, to: &str| format!("CAST(replace(CAST(value AS TEXT), '{from}', '{to}') AS BLOB)");
    for (sql, number, why) in [
        (format!("UPDATE kv SET value = {} WHERE key = 'bot'", swap("\"a\"", "\"*\"")), 5, "agent bot"),
        (format!("UPDATE kv SET value = {} WHERE key = 'built'", swap("grant-", "grant_")), 1, "agent built"),
        ("DELETE FROM kv WHERE key = 'bot'".into(), 5, "no row of agent bot"),
        // Somebody else's token under a name that is trusted.
        (
            "UPDATE kv SET value = CAST(json_set(CAST(value AS TEXT), '$.hash', \
             'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA') AS BLOB) WHERE key = 'bot'"
                .into(),
            5,
            "agent bot",
        ),
        (
            "INSERT INTO kv SELECT space, 'evil', value FROM kv WHERE key = 'bot'".into(),
            5,
            "belongs to no entry",
        ),
        (format!("UPDATE kv SET value = {} WHERE key = 'ann'", swap("ops", "root")), 6, "reviewer ann"),
        ("INSERT INTO kv SELECT space, 'bob', value FROM kv WHERE key = 'ann'".into(), 10, "reviewer bob"),
        (
            "INSERT INTO kv SELECT space, 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', value FROM kv \
             WHERE space = 'session'"
                .into(),
            10,
            "session",
        ),
    ] {
        let copy = w.folder.path().join("copy.db");
        let _ = std::fs::remove_file(&copy);
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
            .unwrap();
        assert!(rusqlite::Connection::open(&copy).unwrap().execute(&sql, []).unwrap() > 0, "{sql}");
        let bad = found(&copy).unwrap_or_else(|| panic!("{sql}"));
        assert!(bad.why.contains(why) && bad.number == number, "{sql}: {bad:?}");
    }
}
