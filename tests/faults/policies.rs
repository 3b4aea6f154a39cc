//! Policies with each kind of mistake: at start the broker says where and does not run; later it keeps the
//! old one.

use super::rig::{
    house::{House, POLICY, folder, start, text},
    liar::Liar,
};

/// Each with the place that must be named.
const MISTAKES: [(&str, &str); 8] = [
    ("", "policy.json:1:1"),
    ("{\"version\":\"1\",}", "policy.json:1:15"),
    ("{\"version\":\"1\",\n\"defualt\":\"deny\"}", "policy.json:2:1"),
    ("{\"version\":\"1\",\"default\":\"deny\",\"default\":\"allow\"}", "policy.json:1:33"),
    ("{\"version\":\"1\",\"default\":1}", "policy.json:1:26"),
    ("{\"version\":\"9\",\"default\":\"deny\"}", "policy.json:1:12"),
    (
        "{\"version\":\"1\",\"default\":\"deny\",\"tools\":{\"t\":{\"deny_if\":[{\"conditions\":\
         [{\"path\":\"args.x\",\"op\":\"regex\",\"value\":\"(\"}]}]}}}",
        "policy.json:1:",
    ),
    ("{\"version\":\"1\",\"default\":\"deny\",\"arguments\":\"strict\"}", "not enforced"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_a_wrong_policy_does_not_start_and_says_where_it_is_wrong() {
    for (policy, place) in MISTAKES {
        let folder = folder(&[("liar", "http://127.0.0.1:9/mcp")], policy);
        let Err(error) = start(folder.path()).await else { panic!("it started with {policy}") };
        assert!(format!("{error:#}").contains(place), "{policy}: {error:#}");
    }
    let folder = folder(&[("liar", "http://127.0.0.1:9/mcp")], POLICY);
    std::fs::remove_file(folder.path().join("policy.json")).unwrap();
    let Err(error) = start(folder.path()).await else { panic!("it started without its policy") };
    assert!(format!("{error:#}").contains("cannot be read"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_policy_put_in_place_later_changes_nothing_but_the_troubles() {
    let liar = Liar::start().await;
    let house = House::open(&[("liar", &liar.url)]).await;
    let path = house.folder.path().join("policy.json");
    for (policy, place) in [MISTAKES[0], MISTAKES[2], MISTAKES[6]] {
        std::fs::write(&path, policy).unwrap();
        let troubles = house.told(|troubles| troubles.contains(place)).await;
        assert!(troubles.contains("policy.json"), "{troubles}");
        assert_eq!(text(&house.call("liar", "say_fine", "still").await.unwrap()), "done");
        let unasked = house.call("liar", "other", "never").await.unwrap();
        assert!(text(&unasked).starts_with("[POLICY DENIED]"), "{unasked:?}");
        assert_eq!(house.approved("liar", "do_fine", place).await, "done");
    }
    std::fs::write(&path, POLICY.replace("do_*", "ask_*")).unwrap();
    house.told(|troubles| !troubles.contains("policy.json")).await;
    let denied = house.call("liar", "do_fine", "never").await.unwrap();
    assert!(text(&denied).starts_with("[POLICY DENIED]"), "the right one is in force: {denied:?}");
    assert_eq!(liar.times("never"), 0);
    house.verify();
}
