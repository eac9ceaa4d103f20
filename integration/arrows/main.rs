//! Rooms know only the rooms below them: reads every file under `src/` and fails on an arrow that is not
//! in the table, and on the world (actors, disks, sockets, a clock, chance) in a pure room.
//!
//! | file | |
//! |---|---|
//! | `main` | the table, the rules, the test of this tree |
//! | `paths` | which paths a source file mentions |
//! | `tree` | the files of a tree, each with its room, test files left out |

mod paths;
mod tree;

use paths::Mention;
use tree::Source;

/// A room, what it may know, and whether it is pure: no world in it, only values.
struct Room {
    name: &'static str,
    pure: bool,
    knows: Knows,
}

enum Knows {
    Only(&'static [&'static str]),
    All,
}

const fn pure(name: &'static str, knows: &'static [&'static str]) -> Room {
    Room { name, pure: true, knows: Knows::Only(knows) }
}

const fn shell(name: &'static str, knows: &'static [&'static str]) -> Room {
    Room { name, pure: false, knows: Knows::Only(knows) }
}

/// Who may know whom. `config` and `clock` are single files that any room with a world may know.
const TABLE: &[Room] = &[
    pure("org", &[]),
    pure("task", &[]),
    pure("babel", &["org"]),
    pure("spec", &["org", "babel", "task"]),
    pure("offer", &["task"]),
    shell("clock", &[]),
    shell("config", &["org", "task"]),
    shell("mesos", &["task", "offer", "config", "clock"]),
    shell("local", &["task", "offer", "mesos", "config", "clock"]),
    shell("store", &["task", "spec", "config", "clock"]),
    shell("actors", &["org", "task", "babel", "spec", "offer", "mesos", "local", "store", "config", "clock"]),
    shell("http", &["org", "spec", "task", "store", "actors", "config", "clock"]),
    Room { name: "cli", pure: false, knows: Knows::All },
    shell("main", &["cli"]),
    // The map of the crate: it names every room.
    Room { name: "lib", pure: false, knows: Knows::All },
];

/// What no pure room may mention: a path that begins so, and why.
const WORLD: &[(&str, &str)] = &[
    ("actix", "an actor"),
    ("actix_rt", "a runtime"),
    ("actix_web", "a server"),
    ("actix_ws", "a socket"),
    ("awc", "a client"),
    ("redb", "a disk"),
    ("tempfile", "a disk"),
    ("tokio", "a runtime"),
    ("rustix", "the system"),
    ("nix", "the system"),
    ("signal_hook", "the system"),
    ("std::fs", "a disk"),
    ("std::env", "the environment"),
    ("std::process", "a process"),
    ("std::thread", "a thread"),
    ("std::net::TcpStream", "a socket"),
    ("std::net::TcpListener", "a socket"),
    ("std::net::UdpSocket", "a socket"),
    ("std::net::ToSocketAddrs", "a name server"),
    ("std::os::unix::net", "a socket"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("std::time::UNIX_EPOCH", "a clock"),
    ("jiff::Timestamp::now", "a clock"),
    ("jiff::Zoned::now", "a clock"),
    ("jiff::tz::TimeZone::system", "the environment"),
    ("uuid::Uuid::now_v1", "a clock"),
    ("uuid::Uuid::now_v6", "a clock"),
    ("uuid::Uuid::now_v7", "a clock"),
    ("uuid::Uuid::new_v4", "chance"),
    ("fastrand", "chance"),
    ("rand", "chance"),
    ("getrandom", "chance"),
    ("std::hash::RandomState", "chance"),
    ("std::collections::hash_map::RandomState", "chance"),
];

/// What is wrong with the mentions of one source file, a line each; empty where all is well.
fn faults(source: &Source) -> Vec<String> {
    let place = |line: usize| format!("{}:{line}", source.file);
    let Some(room) = TABLE.iter().find(|room| room.name == source.room) else {
        return vec![format!("{}: room `{}` is not in the table of rooms", place(1), source.room)];
    };
    let mentions = match paths::mentions(&source.text, &source.module) {
        Ok(mentions) => mentions,
        Err(error) => return vec![format!("{}: cannot be read: {error}", source.file)],
    };
    let mut found: Vec<String> = mentions
        .iter()
        .filter_map(|mention| {
            let fault = arrow(room, mention).or_else(|| world(room, mention))?;
            Some(format!("{}: {fault}", place(mention.line)))
        })
        .collect();
    found.dedup();
    found
}

/// A way from one room into another that the table does not have.
fn arrow(room: &Room, mention: &Mention) -> Option<String> {
    let ("crate", rest) = mention.path.split_first().map(|(head, rest)| (head.as_str(), rest))? else {
        return None;
    };
    let Knows::Only(knows) = room.knows else { return None };
    let written = mention.path.join("::");
    let target = match rest.first() {
        Some(first) if first != "*" => first,
        _ => return Some(format!("`{written}` takes in every room: name what is meant")),
    };
    if target == room.name || knows.contains(&target.as_str()) {
        return None;
    }
    let may = if knows.is_empty() { "no other room".to_owned() } else { knows.join(", ") };
    Some(format!("{} → {target} (`{written}`): `{}` may know {may}", room.name, room.name))
}

/// A piece of the world in a pure room.
fn world(room: &Room, mention: &Mention) -> Option<String> {
    if !room.pure {
        return None;
    }
    let (stem, glob) = match mention.path.split_last() {
        Some((last, stem)) if last == "*" => (stem, true),
        _ => (&mention.path[..], false),
    };
    let (bad, what) = WORLD.iter().find(|(bad, _)| {
        let bad: Vec<&str> = bad.split("::").collect();
        let common = bad.iter().zip(stem).take_while(|(a, b)| **a == b.as_str()).count();
        common == bad.len() || glob && common == stem.len()
    })?;
    let written = mention.path.join("::");
    Some(format!("`{written}` brings {what} (`{bad}`) into `{}`, which is pure: hand in values", room.name))
}

#[test]
fn every_arrow_of_this_crate_is_in_the_table() {
    let sources = tree::sources(&support::repository("src")).unwrap();
    assert!(sources.iter().any(|source| source.room == "org"), "found no `src/org`: read the wrong place?");
    let found: Vec<String> = sources.iter().flat_map(faults).collect();
    assert!(found.is_empty(), "{} forbidden arrows:\n{}", found.len(), found.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    // A room may know only rooms that stand above it in the table, so there can be no cycle.
    for (index, room) in TABLE.iter().enumerate() {
        if let Knows::Only(knows) = room.knows {
            for known in knows {
                let at = TABLE.iter().position(|other| other.name == *known);
                let one_way = at.is_some_and(|at| at < index);
                // `main` and `lib` end the table: nobody knows them.
                assert!(one_way, "`{}` knows `{known}`, which does not stand before it", room.name);
            }
        }
    }
}

#[test]
fn pure_rooms_know_only_pure_rooms() {
    for room in TABLE.iter().filter(|room| room.pure) {
        let Knows::Only(knows) = room.knows else { panic!("`{}` is pure and knows all", room.name) };
        for known in knows {
            assert!(TABLE.iter().any(|other| other.name == *known && other.pure), "{} → {known}", room.name);
        }
    }
}

/// What the test says of a source text, were it the file named.
fn judged(file: &str, text: &str) -> String {
    faults(&tree::source(file, text.to_owned())).join("\n")
}

#[rstest::rstest]
#[case::used(
    "use crate::mesos::Offer;",
    "src/offer/fit.rs:1: offer → mesos (`crate::mesos::Offer`): `offer` may know task"
)]
#[case::in_a_group(
    "use crate::{\n task::State,\n store::{Store, Row},\n};",
    "src/offer/fit.rs:3: offer → store (`crate::store::Store`): `offer` may know task\nsrc/offer/fit.rs:3: offer → store (`crate::store::Row`): `offer` may know task"
)]
#[case::renamed(
    "use crate::spec as s;",
    "src/offer/fit.rs:1: offer → spec (`crate::spec`): `offer` may know task"
)]
#[case::in_a_type(
    "fn f(o: &[crate::org::Block]) {}",
    "src/offer/fit.rs:1: offer → org (`crate::org::Block`): `offer` may know task"
)]
#[case::in_an_expression(
    "fn f() {\n  crate::cli::run();\n}",
    "src/offer/fit.rs:2: offer → cli (`crate::cli::run`): `offer` may know task"
)]
#[case::by_the_crates_name(
    "use borges_http as http;",
    "src/offer/fit.rs:1: offer → http (`crate::http`): `offer` may know task"
)]
#[case::by_climbing(
    "use super::super::http;",
    "src/offer/fit.rs:1: offer → http (`crate::http`): `offer` may know task"
)]
#[case::through_an_alias(
    "use crate as root;\nfn f() { root::local::x() }",
    "src/offer/fit.rs:1: `crate` takes in every room: name what is meant\nsrc/offer/fit.rs:2: offer → local (`crate::local::x`): `offer` may know task"
)]
#[case::by_a_star("use crate::*;", "src/offer/fit.rs:1: `crate::*` takes in every room: name what is meant")]
#[case::in_a_macro(
    "fn f() { format!(\"{}\", crate::org::VERSION) }",
    "src/offer/fit.rs:1: offer → org (`crate::org::VERSION`): `offer` may know task"
)]
#[case::in_a_macros_definition(
    "macro_rules! m { () => { $crate::org::x() } }",
    "src/offer/fit.rs:1: offer → org (`crate::org::x`): `offer` may know task"
)]
#[case::of_a_trait(
    "impl crate::local::Agent for X {}",
    "src/offer/fit.rs:1: offer → local (`crate::local::Agent`): `offer` may know task"
)]
#[case::in_a_derive(
    "#[derive(actix::Message)]\nstruct X;",
    "src/offer/fit.rs:1: `actix::Message` brings an actor (`actix`) into `offer`, which is pure: hand in values"
)]
#[case::in_a_visibility(
    "pub(in crate::local) struct X;",
    "src/offer/fit.rs:1: offer → local (`crate::local`): `offer` may know task"
)]
#[case::an_old_import(
    "extern crate tokio;",
    "src/offer/fit.rs:1: `tokio` brings a runtime (`tokio`) into `offer`, which is pure: hand in values"
)]
#[case::an_absolute_path(
    "fn f() { ::tokio::spawn(x) }",
    "src/offer/fit.rs:1: `tokio::spawn` brings a runtime (`tokio`) into `offer`, which is pure: hand in values"
)]
#[case::a_clock(
    "use std::time::Instant;",
    "src/offer/fit.rs:1: `std::time::Instant` brings a clock (`std::time::Instant`) into `offer`, which is pure: hand in values"
)]
#[case::a_clock_in_a_star(
    "use std::time::*;",
    "src/offer/fit.rs:1: `std::time::*` brings a clock (`std::time::Instant`) into `offer`, which is pure: hand in values"
)]
#[case::the_time_of_day(
    "use jiff::Timestamp;\nfn f() { Timestamp::now(); }",
    "src/offer/fit.rs:2: `jiff::Timestamp::now` brings a clock (`jiff::Timestamp::now`) into `offer`, which is pure: hand in values"
)]
#[case::our_clock(
    "use crate::clock::Clock;",
    "src/offer/fit.rs:1: offer → clock (`crate::clock::Clock`): `offer` may know task"
)]
#[case::chance(
    "use uuid::Uuid as Id;\nfn f() { Id::new_v4(); }",
    "src/offer/fit.rs:2: `uuid::Uuid::new_v4` brings chance (`uuid::Uuid::new_v4`) into `offer`, which is pure: hand in values"
)]
#[case::beside_a_test(
    "#[cfg(not(test))]\nuse crate::org;",
    "src/offer/fit.rs:2: offer → org (`crate::org`): `offer` may know task"
)]
#[case::not_only_in_a_test(
    "#[cfg(any(test, unix))]\nuse crate::org;",
    "src/offer/fit.rs:2: offer → org (`crate::org`): `offer` may know task"
)]
#[case::no_rust("fn (", "src/offer/fit.rs: cannot be read: cannot parse string into token stream")]
fn a_forbidden_arrow_is_seen(#[case] text: &str, #[case] said: &str) {
    assert_eq!(judged("src/offer/fit.rs", text), said);
}

#[rstest::rstest]
#[case::the_room_below("src/offer/fit.rs", "use crate::task::{Resources, State};")]
#[case::its_own(
    "src/offer/fit.rs",
    "use crate::offer::reason::Reason; use super::Fit; use self::inner::X; mod inner {}"
)]
#[case::a_length_of_time(
    "src/offer/fit.rs",
    "use std::time::Duration; use jiff::Timestamp; fn f(now: Timestamp) {}"
)]
#[case::a_module_named_like_a_room("src/offer/mod.rs", "mod http; use http::X; fn f() { http::y() }")]
#[case::climbing_inside("src/offer/fit.rs", "mod inner { use super::super::reason; }")]
#[case::tests("src/offer/fit.rs", "#[cfg(test)]\nmod tests { use crate::org; use std::time::Instant; }")]
#[case::more_than_tests("src/offer/fit.rs", "#[cfg(all(test, unix))]\nuse crate::org;")]
#[case::a_test("src/offer/fit.rs", "#[test]\nfn f() { crate::org::x(); }")]
#[case::a_variable_named_like_a_crate("src/offer/fit.rs", "fn f(rand: u8) -> u8 { rand }")]
#[case::comments(
    "src/offer/fit.rs",
    "//! See [`crate::org`].\n/// And `tokio`.\nfn f() -> &'static str { \"crate::org::x\" }"
)]
#[case::a_shell(
    "src/mesos/http.rs",
    "use crate::clock::Clock; use crate::config::Config; use tokio::time::Instant;"
)]
#[case::the_program("src/main.rs", "fn main() { borges_cli::main() }")]
#[case::the_map("src/lib.rs", "pub mod org; pub mod cli;")]
#[case::the_top("src/cli/run.rs", "use crate::{actors, local, org}; use std::time::Instant;")]
fn an_arrow_of_the_table_is_let_pass(#[case] file: &str, #[case] text: &str) {
    assert_eq!(judged(file, text), "");
}

#[test]
fn a_new_room_must_be_put_in_the_table() {
    assert_eq!(
        judged("src/attic/mod.rs", ""),
        "src/attic/mod.rs:1: room `attic` is not in the table of rooms"
    );
}

#[test]
fn a_file_that_is_only_a_test_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod offer;");
    write("offer/mod.rs", "mod fit;\n#[cfg(test)]\nmod cases;\nmod inner { #[cfg(test)] mod deep; }");
    write("offer/fit.rs", "#[cfg(test)] mod table;");
    write("offer/fit/table.rs", "use crate::org;");
    write("offer/cases.rs", "mod more;");
    write("offer/cases/more.rs", "use crate::org;");
    write("offer/inner/deep.rs", "use crate::org;");
    let files: Vec<String> =
        tree::sources(dir.path()).unwrap().into_iter().map(|source| source.module.join("::")).collect();
    assert_eq!(files, ["", "offer::fit", "offer"]);
}
