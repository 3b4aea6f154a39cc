//! Static headers: secrets from the environment or a file reach the server, and nothing else learns them.

use countersign::config::Config;

use crate::rig::{House, Server, call, logged};

#[tokio::test(flavor = "multi_thread")]
async fn a_header_from_a_file_or_the_environment_reaches_the_server_and_nobody_else() {
    let server = Server::start(None).await;
    let folder = tempfile::tempdir().unwrap();
    let token = format!("Bearer static-{:032x}", rand::random::<u128>());
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("secrets/token"), format!("{token}\n")).unwrap();
    // A variable that every test has.
    let headers = "headers = { Authorization = \"file:secrets/token\", X-Key = \"env:CARGO_PKG_NAME\", X-Plain = \"as written\" }";
    let house = House::open_in(folder, &format!("url = \"{}\"\n{headers}", server.url), "").await;
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    assert_eq!(server.header("authorization"), [token.as_str()]);
    assert_eq!(server.header("x-key"), ["countersign"]);
    assert_eq!(server.header("x-plain"), ["as written"]);
    assert!(!answer.contains(&token) && !logged().contains(&token));
    assert_eq!(house.find(&[token]), Vec::<String>::new());
    house.running.drain().await;
}

/// What the configuration says of these keys of `[servers.it]`.
fn refusal(keys: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("two"), "first-half\nsecond-half").unwrap();
    let text = format!("\n[servers.it]\nurl = \"http://127.0.0.1:9/mcp\"\n{keys}\n");
    let path = folder.path().join("countersign.toml");
    let config = Config::parse(&text, Some(path), folder.path().to_owned(), std::iter::empty()).unwrap();
    match config.compose() {
        Err(error) => error.to_string(),
        Ok(composed) => {
            let upstreams = countersign::upstream::Upstreams::new(config.file.upstream.clone());
            upstreams.replace(composed.servers).unwrap_err().to_string()
        }
    }
}

#[test]
fn a_secret_that_is_not_there_is_named_with_its_line() {
    let no_variable = refusal("headers = { Authorization = \"env:NO_SUCH_VARIABLE_HERE\" }");
    assert!(no_variable.contains("countersign.toml:2"), "{no_variable}");
    assert!(no_variable.contains("NO_SUCH_VARIABLE_HERE is not set"), "{no_variable}");
    let no_file = refusal("headers = { Authorization = \"file:nowhere\" }");
    assert!(no_file.contains("the secret's file nowhere cannot be read"), "{no_file}");
    let empty = refusal("headers = { Authorization = \"file:empty\" }");
    assert!(empty.contains("file:empty is empty"), "{empty}");
    let two = refusal("headers = { Authorization = \"file:two\" }");
    assert!(two.contains("\"Authorization\" is not a valid header") && !two.contains("half"), "{two}");
}

#[test]
fn a_header_and_a_sign_in_exclude_each_other() {
    let both = refusal("headers = { authorization = \"Bearer x\" }\n[servers.it.oauth]");
    assert!(both.contains("both an Authorization header and `oauth`"), "{both}");
}

#[test]
fn an_issuer_that_could_be_overheard_or_lets_nobody_in_is_refused_with_its_line() {
    let of = |text: &str| {
        let path = Some("countersign.toml".into());
        Config::parse(text, path, std::path::PathBuf::new(), std::iter::empty()).unwrap_err().to_string()
    };
    let clear = of("\n[oauth]\nissuer = \"http://login.example\"\ngrants = { a = \"b\" }\n");
    assert!(clear.contains("countersign.toml:2") && clear.contains("not https"), "{clear}");
    let nobody = of("[oauth]\nissuer = \"https://login.example\"\n");
    assert!(nobody.contains("[oauth.grants]"), "{nobody}");
    let none =
        of("[oauth]\nissuer = \"https://a.example\"\nalgorithms = [\"none\"]\ngrants = { a = \"b\" }\n");
    assert!(none.contains("none"), "{none}");
    let words = of("[oauth]\nissuer = \"https://a.example\"\nscopes = [\"a b\"]\ngrants = { a = \"b\" }\n");
    assert!(words.contains("\"a b\" in `scopes` is no scope"), "{words}");
}
