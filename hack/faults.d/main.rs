//! Fault injection for an OCI runtime: see `hack/faults`, which runs this as process 1 of namespaces of its own.

#![allow(dead_code)]
#![allow(unreachable_pub)] // a program: nothing is public

mod launch;
mod report;
mod sweep;
mod trace;
mod verbs;
mod world;

use report::Report;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use sweep::Extent;
use trace::{Fault, Role, Whom};
use verbs::Verb;
use world::World;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "launch") {
        return ExitCode::from(u8::try_from(launch::launch(&words[1..])).unwrap_or(1));
    }
    trace::block_sigchld();
    let mut options = Options::of(&words);
    let runtime = std::env::var("RUNTIME").expect("RUNTIME");
    let work = std::env::var("FAULTS_WORK").expect("FAULTS_WORK: run hack/faults");
    let mut world = World::new(&runtime, Path::new(&work), false);
    world.rebase();
    let before = Instant::now();
    let mut report = Report::default();
    if options.verbs.is_empty() {
        options.verbs = verbs::ALL.to_vec();
    }
    for verb in &options.verbs {
        let at = Instant::now();
        sweep::sweep(&world, *verb, &options.extent, &mut report);
        report::say(&format!("{}: {} s", verb.name(), at.elapsed().as_secs()));
    }
    world.end();
    print(&report.table(&runtime, &options.environment, before.elapsed().as_secs_f64()));
    if report.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The command line.
struct Options {
    verbs: Vec<Verb>,
    extent: Extent,
    environment: String,
}

impl Options {
    fn of(words: &[String]) -> Options {
        let mut options = Options {
            verbs: Vec::new(),
            extent: Extent { faults: sweep::all_faults(20), calls: None, only: None },
            environment: String::new(),
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "--env" => options.environment = value.to_owned(),
                "--calls" => options.extent.calls = value.parse().ok(),
                "--faults" => options.extent.faults = faults(value),
                "--only" => options.extent.only = only(value),
                _ => options.verbs.push(Verb::named(word).unwrap_or_else(|| panic!("no command {word:?}"))),
            }
        }
        options
    }
}

fn faults(list: &str) -> Vec<Fault> {
    let all = sweep::all_faults(20);
    list.split(',')
        .flat_map(|name| match name {
            "kill" => vec![Fault::Kill(Whom::This)],
            "kills" => sweep::KILLS.to_vec(),
            "delay" => vec![Fault::Delay(20)],
            "short" => vec![Fault::Short],
            name => all.iter().copied().filter(|fault| sweep::words(*fault) == name).collect(),
        })
        .collect()
}

/// `host:10-20`
fn only(text: &str) -> Option<(Role, usize, usize)> {
    let (role, range) = text.split_once(':')?;
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let role = if role == "host" { Role::Host } else { Role::Container };
    Some((role, from.parse().ok()?, to.parse().ok()?))
}
