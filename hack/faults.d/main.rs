//! Fault injection for an OCI runtime: see `hack/faults`, which runs this as process 1 of namespaces of its own.

#![allow(unreachable_pub)] // a program: nothing is public

mod launch;
mod load;
mod oracle;
mod pairs;
mod proof;
mod report;
mod sweep;
mod trace;
mod verbs;
mod wear;
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
    let mut world = World::new(&runtime, Path::new(&work), options.systemd, options.no_devices);
    world.rebase();
    let before = Instant::now();
    let mut report = Report::default();
    if options.parts.is_empty() {
        options.parts.push(Part::Proof);
        options.parts.extend(verbs::ALL.map(Part::Sweep));
        options.parts.extend([Part::Pairs, Part::Wear, Part::Load]);
    }
    for part in &options.parts {
        let at = Instant::now();
        match part {
            Part::Sweep(verb) => sweep::sweep(&world, *verb, &options.extent, &mut report),
            Part::Pairs => pairs::pairs(&world, &options.extent, &mut report),
            Part::Wear => wear::all(&mut world, options.extent.calls, &mut report),
            Part::Load => load::load(&world, options.load, &mut report),
            Part::Proof => proof::proof(&mut world, &mut report),
        }
        report::say(&format!("{part:?}: {} s", at.elapsed().as_secs()));
        slow_leaks(&world, part, &mut report);
    }
    world.end();
    // Every reason once, as the other suites write them.
    for reason in &report.skipped {
        report::say(&format!("skipped: faults: {reason}"));
    }
    let name = std::env::var("FAULTS_NAME").unwrap_or(runtime);
    print(&report.table(&name, &options.environment, before.elapsed().as_secs_f64()));
    print(&format!("\n{}\n", report.line()));
    if report.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the kernel frees late is looked for when a part is over, and is a leak of one of its points: `--only` finds of which.
fn slow_leaks(world: &World, part: &Part, report: &mut Report) {
    let end = Instant::now() + trace::slowly(std::time::Duration::from_secs(5));
    let mut left = world.look_whole();
    while !left.is_empty() && Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(20));
        world::reap();
        left = world.look_whole();
    }
    if !left.is_empty() {
        report.row(&part.name()).leaks += 1;
        report.finding(format!("{part:?}: leak, when it is over: {}", left.words()));
        world.clear();
    }
}

fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A part of all there is to test.
#[derive(Debug, Clone, Copy)]
enum Part {
    Sweep(Verb),
    Pairs,
    Wear,
    Load,
    /// That the oracle sees what is left.
    Proof,
}

impl Part {
    fn name(self) -> String {
        if let Part::Sweep(verb) = self { verb.name().to_owned() } else { format!("{self:?}").to_lowercase() }
    }
}

/// The command line.
struct Options {
    parts: Vec<Part>,
    /// So many containers.
    load: usize,
    extent: Extent,
    environment: String,
    /// By the systemd cgroup driver.
    systemd: bool,
    no_devices: bool,
}

impl Options {
    fn of(words: &[String]) -> Options {
        let mut options = Options {
            parts: Vec::new(),
            load: 1000,
            extent: Extent { faults: sweep::all_faults(20), calls: None, budget: None, sample: false, only: None },
            environment: String::new(),
            systemd: false,
            no_devices: false,
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "--env" => options.environment = value.to_owned(),
                "--calls" => options.extent.calls = value.parse().ok(),
                "--faults" => options.extent.faults = faults(value),
                "--only" => options.extent.only = only(value),
                "--containers" => options.load = value.parse().expect("a number"),
                "--systemd" => options.systemd = true,
                "--no-devices" => options.no_devices = true,
                "--seconds" => {
                    options.extent.budget = value.parse().ok().map(std::time::Duration::from_secs);
                    options.extent.sample = true;
                }
                "--quick" => {
                    options.parts.push(Part::Proof);
                    options.parts.extend([Verb::Create, Verb::Start, Verb::Delete].map(Part::Sweep));
                    options.extent.faults = faults("kill,ENOMEM");
                    options.extent.budget = Some(std::time::Duration::from_secs(50));
                }
                "pairs" => options.parts.push(Part::Pairs),
                "wear" => options.parts.push(Part::Wear),
                "proof" => options.parts.push(Part::Proof),
                "load" => options.parts.push(Part::Load),
                _ => options.parts.push(Part::Sweep(Verb::named(word).unwrap_or_else(|| panic!("no command {word:?}")))),
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
