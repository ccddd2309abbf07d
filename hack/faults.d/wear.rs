//! What else may befall a runtime: damaged state, a full or read-only state root, few descriptors, little memory, a reboot, hooks that misbehave,
//! state of another version.

use crate::report::{Report, say};
use crate::sweep::{recover, settled};
use crate::trace::{End, Job, Tracer};
use crate::verbs::{Before, Verb, plain, prepare, wait_until};
use crate::world::{Kind, Seen, World, alive, id, names};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub fn all(world: &mut World, quick: Option<usize>, report: &mut Report) {
    damage(world, quick, report);
    mutations(world, quick.map_or(1000, |most| most * 3), report);
    limits(world, report);
    hooks(world, report);
    foreign_hands(world, report);
    small_root(world, report);
    read_only_root(world, report);
    reboot(world, report);
    versions(world, report);
}

/// Whether the container could be brought there; a finding if not.
fn ready(world: &World, before: Before, row: &str, report: &mut Report) -> bool {
    match prepare(world, before, Kind::Plain) {
        Ok(()) => true,
        Err(error) => {
            report.finding(format!("{row}: cannot prepare: {error}"));
            report.row(row).stuck += 1;
            world.clear();
            false
        }
    }
}

fn state_files(world: &World) -> Vec<(PathBuf, u64)> {
    let dir = world.root.join(id());
    let files = names(&dir).into_iter().map(|name| dir.join(name));
    files.filter_map(|path| path.symlink_metadata().ok().filter(|d| d.is_file()).map(|d| (path, d.len()))).collect()
}

/// Every state file of a container that runs, cut off at every byte.
fn damage(world: &World, quick: Option<usize>, report: &mut Report) {
    let row = "state file truncated";
    if !ready(world, Before::Running, row, report) {
        return;
    }
    let files = state_files(world);
    let _ = plain(world, &["delete", "--force", id()]);
    for (path, len) in files {
        let step = quick.map_or(1, |most| usize::try_from(len).unwrap_or(1).div_ceil(most.max(1)).max(1));
        say(&format!("{row}: {}, {len} bytes, every {step}", path.display()));
        for at in (0..len).step_by(step) {
            damaged(world, row, &format!("{} at {at}", path.display()), report, &mut || {
                fs::File::options().write(true).open(&path).and_then(|file| file.set_len(at))
            });
        }
    }
    damaged(world, row, "all of them at 0", report, &mut || state_files(world).iter().try_for_each(|(path, _)| fs::write(path, "")));
}

fn damaged(world: &World, row: &str, what: &str, report: &mut Report, spoil: &mut dyn FnMut() -> std::io::Result<()>) {
    if !ready(world, Before::Running, row, report) {
        return;
    }
    if spoil().is_err() {
        report.skipped.push(format!("{row}: {what} cannot be done"));
    }
    report.row(row).points += 1;
    let (end, words) = plain(world, &["state", id()]);
    let told = ["stopped", "created", "creating"].iter().find(|status| words.contains(&format!("\"status\": \"{status}\"")));
    if let (End::Code(0), Some(status)) = (end, told) {
        report.row(row).wrong += 1;
        report.finding(format!("{row}: {what}: state says {status} of a container that runs"));
    }
    if matches!(end, End::Signal(_) | End::Hung) {
        report.row(row).wrong += 1;
        report.finding(format!("{row}: {what}: state ends with {end:?}"));
    }
    // Whoever is told so takes it for done.
    let (_, words) = plain(world, &["kill", id(), "CONT"]);
    if words.contains("not running") {
        report.row(row).wrong += 1;
        report.finding(format!("{row}: {what}: kill says of a container that runs: {}", words.trim()));
    }
    recover(world, row, None, &format!("{row}: {what}"), report);
}

/// Bytes of a state file changed, removed, repeated or put in.
fn mutations(world: &World, count: usize, report: &mut Report) {
    let row = "state file mutated";
    say(&format!("{row}: {count} times"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..count {
        let mut what = String::new();
        damaged(world, row, &format!("round {round}"), report, &mut || {
            let files = state_files(world);
            let (path, _) = &files[random.below(files.len())];
            let mut bytes = fs::read(path)?;
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
                match random.below(4) {
                    _ if bytes.is_empty() => {}
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = u8::try_from(random.below(256)).unwrap_or(0),
                    2 => drop(bytes.drain(at..(at + 1 + random.below(16)).min(bytes.len()))),
                    _ => bytes.insert(at, b'0'),
                }
            }
            what = path.display().to_string();
            fs::write(path, bytes)
        });
    }
}

/// xorshift64: the same at every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (n.max(1) as u64)).unwrap_or(0)
    }
}

/// Few descriptors, few processes, little memory.
fn limits(world: &World, report: &mut Report) {
    let mut sets: Vec<(&str, Vec<String>)> = Vec::new();
    sets.push(("RLIMIT_NOFILE 3 to 40", (3..=40).map(|n| format!("nofile={n}")).collect()));
    sets.push(("RLIMIT_NPROC 1 to 8", (1..=8).map(|n| format!("nproc={n}")).collect()));
    let mut groups: Vec<PathBuf> = Vec::new();
    for (row, controller, files, unit) in [
        ("memory.max 1 to 8 MiB", "memory", ["memory.limit_in_bytes", "memory.max"], 1 << 20),
        // What RLIMIT_NPROC is not for root.
        ("pids.max 1 to 8", "pids", ["pids.max"; 2], 1),
    ] {
        let made: Vec<PathBuf> = (1..=8).filter_map(|n| limited(world, controller, files, n * unit)).collect();
        if made.is_empty() {
            report.skipped.push(format!("{row}: this host has no {controller} controller to set here"));
        }
        sets.push((row, made.iter().map(|dir| format!("cgroup={}", dir.display())).collect()));
        groups.extend(made);
    }
    for (row, words) in sets {
        for word in &words {
            for verb in [Verb::Create, Verb::Start, Verb::Exec, Verb::Run, Verb::Kill, Verb::Delete] {
                limited_run(world, row, verb, word, report);
            }
        }
    }
    for group in groups {
        let _ = fs::remove_dir(group);
    }
}

/// A cgroup for the runtime itself.
fn limited(world: &World, controller: &str, files: [&str; 2], limit: u64) -> Option<PathBuf> {
    for hierarchy in &world.hierarchies {
        let dir = hierarchy.join(format!("{}-{controller}-{limit}", world.cgroup));
        let _ = fs::create_dir(&dir);
        for file in files {
            if fs::symlink_metadata(dir.join(file)).is_ok() && fs::write(dir.join(file), limit.to_string()).is_ok() {
                return Some(dir);
            }
        }
        let _ = fs::remove_dir(&dir);
    }
    None
}

fn limited_run(world: &World, row: &str, verb: Verb, word: &str, report: &mut Report) {
    if verb.lacks(world).is_some() || !ready(world, verb.before(), row, report) {
        return;
    }
    let init = world.init();
    let job = Job { attach: Vec::new(), limits: vec![word.to_owned()], ..verb.job(world) };
    let outcome = Tracer::start(&job, Some(NOWHERE), &world.work, "traced").run();
    report.row(row).points += 1;
    let what = format!("{}: {word}", verb.name());
    if outcome.end == End::Hung {
        report.row(row).hangs += 1;
        report.finding(format!("{what}: hangs"));
    }
    let failed = verb.before() == Before::Nothing && !matches!(outcome.end, End::Code(0 | crate::verbs::STATUS));
    let residue = if failed || verb == Verb::Run || verb == Verb::Delete { settled(world) } else { world.look() };
    crate::verbs::wait_a_moment(|| {
        crate::verbs::wrong(world, verb, outcome.end, None, init, &residue, (&outcome.output, &outcome.error)).is_none()
    });
    if let Some(wrong) = crate::verbs::wrong(world, verb, outcome.end, None, init, &residue, (&outcome.output, &outcome.error)) {
        report.row(row).wrong += 1;
        report.finding(format!("{what}: {wrong}: {}", outcome.error.trim()));
    }
    if let End::Code(1..) = outcome.end
        && outcome.end != End::Code(crate::verbs::STATUS)
    {
        report.row(row).errors += 1;
        if outcome.error.split_whitespace().count() < 4 {
            report.row(row).unnamed += 1;
            report.finding(format!("{what}: not named: {:?}", outcome.error.trim()));
        }
    }
    recover(world, row, Some(&residue), &what, report);
}

const NOWHERE: crate::trace::Point =
    crate::trace::Point { role: crate::trace::Role::Container, number: usize::MAX, fault: crate::trace::Fault::Hold };

/// Hooks that kill their parent, fail, or hang.
fn hooks(world: &mut World, report: &mut Report) {
    let row = "hooks that kill their parent, fail or hang";
    let scripts = [
        ("kills its parent", "kill -9 $PPID; sleep 0.05", None),
        ("fails", "exit 3", None),
        ("hangs", "sleep 1000", Some(1)),
        ("hangs without a limit", "sleep 1000", None),
    ];
    for when in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        for (what, script, timeout) in scripts {
            // A poststop hook without a limit has all the time there is: that is what the specification gives it.
            if when == "poststop" && what == "hangs without a limit" {
                continue;
            }
            let mut config = world.config(Kind::Plain);
            let mut hook =
                if when == "startContainer" { json!({"path": "/bin/busybox", "args": ["sh", "-c", script]}) } else { world.hook(script) };
            if let Some(seconds) = timeout {
                hook["timeout"] = json!(seconds);
            }
            config["hooks"] = json!({when: [hook]});
            world.write_config(Kind::Plain, &config);
            world.rebase();
            if when == "poststop" && what == "kills its parent" {
                kills_its_deleter(world, row, &mut config, report);
                continue;
            }
            misbehaves(world, row, &format!("{when} {what}"), report);
        }
    }
    world.write_config(Kind::Plain, &world.config(Kind::Plain));
    world.rebase();
}

/// The hook is run again by the next `delete`: until it ends nothing says that it has done its work.
fn kills_its_deleter(world: &mut World, row: &str, config: &mut Value, report: &mut Report) {
    let flag = world.work.join("once.scratch");
    config["hooks"]["poststop"][0] = world.hook(&format!("[ -e {0} ] && exit 0; : > {0}; kill -9 $PPID", flag.display()));
    world.write_config(Kind::Plain, config);
    world.rebase();
    if !ready(world, Before::Running, row, report) {
        return;
    }
    report.row(row).points += 1;
    let _ = plain(world, &["delete", "--force", id()]);
    recover(world, row, None, "hook: poststop kills its parent, once", report);
    let _ = fs::remove_file(flag);
}

/// `create` and `start` in the background, `delete --force` half a second later.
fn misbehaves(world: &World, row: &str, what: &str, report: &mut Report) {
    report.row(row).points += 1;
    for verb in [Verb::Create, Verb::Start] {
        let args = verb.args(world);
        let Ok(mut child) = std::process::Command::new(&args[0])
            .args(&args[1..])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
        else {
            continue;
        };
        let ended = wait_until(|| !alive(i32::try_from(child.id()).unwrap_or(0)));
        if !ended {
            // It hangs with its hook: as it may, without a limit.
            break;
        }
        let _ = child.try_wait();
    }
    recover(world, row, None, &format!("hook: {what}"), report);
}

/// A state root that belongs to another user, or that others may write to, is refused.
fn foreign_hands(world: &World, report: &mut Report) {
    let row = "state root of others";
    type Spoil = fn(&Path) -> std::io::Result<()>;
    let chown: Spoil = |root| std::os::unix::fs::chown(root, Some(1000), Some(1000));
    let chmod: Spoil = |root| fs::set_permissions(root, fs::Permissions::from_mode(0o777));
    for (what, spoil) in [("another user's", chown), ("mode 0777", chmod)] {
        for verb in [Verb::Create, Verb::Start, Verb::Kill, Verb::Delete, Verb::DeleteForce, Verb::Exec] {
            if verb.lacks(world).is_some() || !ready(world, verb.before(), row, report) {
                continue;
            }
            report.row(row).points += 1;
            let before = world.seen();
            let _ = spoil(&world.root);
            let outcome = Tracer::start(&Job { attach: Vec::new(), ..verb.job(world) }, Some(NOWHERE), &world.work, "traced").run();
            if matches!(outcome.end, End::Code(0 | crate::verbs::STATUS)) || world.seen() != before {
                report.row(row).wrong += 1;
                report.finding(format!("{row}: {what}: {} does it all the same", verb.name()));
            }
            let _ = std::os::unix::fs::chown(&world.root, Some(0), Some(0));
            let _ = fs::set_permissions(&world.root, fs::Permissions::from_mode(0o700));
            recover(world, row, None, &format!("{row}: {what}: {}", verb.name()), report);
        }
    }
}

/// A tmpfs that has room for some of the files, or for half of one.
fn small_root(world: &mut World, report: &mut Report) {
    let row = "state root full";
    let inodes = (1..=12).map(|n| format!("mode=700,nr_inodes={n}"));
    let sizes = (0..=10).map(|n| format!("mode=700,size={}k", 4 + 4 * n));
    for options in inodes.chain(sizes).collect::<Vec<_>>() {
        let mounted = mount(Some("tmpfs"), &world.root, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()));
        if mounted.is_err() {
            report.skipped.push(format!("{row}: no tmpfs with {options}"));
            continue;
        }
        world.rebase();
        report.row(row).points += 1;
        let words: Vec<String> =
            [Verb::Create, Verb::Start, Verb::Exec].iter().map(|verb| step(world, *verb, row, &options, report)).collect();
        recover(world, row, None, &format!("{row}: {options}: {}", words.join("; ")), report);
        let _ = umount2(&world.root, MntFlags::MNT_DETACH);
        world.rebase();
    }
}

/// A command that may fail, if it says why.
fn step(world: &World, verb: Verb, row: &str, options: &str, report: &mut Report) -> String {
    if verb.lacks(world).is_some() {
        return String::new();
    }
    let init = world.init();
    let outcome = Tracer::start(&Job { attach: Vec::new(), ..verb.job(world) }, Some(NOWHERE), &world.work, "traced").run();
    if outcome.end == End::Hung {
        report.row(row).hangs += 1;
        report.finding(format!("{row}: {options}: {} hangs", verb.name()));
    }
    let residue = if verb == Verb::Create && outcome.end != End::Code(0) { settled(world) } else { world.look() };
    // Without the one before it there is nothing to be wrong about.
    if let Some(what) = crate::verbs::wrong(world, verb, outcome.end, None, init, &residue, (&outcome.output, &outcome.error))
        .filter(|_| verb != Verb::Exec || init.is_some())
    {
        report.row(row).wrong += 1;
        report.finding(format!("{row}: {options}: {}: {what}: {}", verb.name(), outcome.error.trim()));
    }
    outcome.error.trim().to_owned()
}

fn read_only_root(world: &mut World, report: &mut Report) {
    let row = "state root read-only";
    let remount = |flags| mount(None::<&str>, &world.root, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).is_ok();
    if mount(Some("tmpfs"), &world.root, Some("tmpfs"), MsFlags::empty(), Some("mode=700")).is_err() {
        report.skipped.push(format!("{row}: no tmpfs"));
        return;
    }
    for verb in [Verb::Create, Verb::Start, Verb::Delete, Verb::DeleteForce] {
        if !ready(world, verb.before(), row, report) {
            continue;
        }
        report.row(row).points += 1;
        let done = remount(MsFlags::MS_RDONLY);
        let outcome = Tracer::start(&Job { attach: Vec::new(), ..verb.job(world) }, Some(NOWHERE), &world.work, "traced").run();
        if !done || outcome.end == End::Code(0) {
            report.row(row).wrong += 1;
            report.finding(format!("{row}: {} says success", verb.name()));
        }
        let _ = remount(MsFlags::empty());
        // The mount table is that of before.
        let (end, said) = plain(world, &["delete", "--force", id()]);
        let left = settled(world);
        if end == End::Code(0) && left.processes.is_empty() && left.cgroups.is_empty() && left.state.is_empty() {
            report.row(row).recovered += 1;
        } else {
            report.row(row).leaks += 1;
            report.finding(format!("{row}: {}: {end:?} {said} {}", verb.name(), left.words()));
        }
    }
    let _ = umount2(&world.root, MntFlags::MNT_DETACH);
    world.clear();
}

/// The state survives, what it speaks of does not, and the pid is somebody else's.
fn reboot(world: &mut World, report: &mut Report) {
    let row = "reboot";
    let boot = world.work.join("boot.scratch");
    let _ = fs::write(&boot, "01234567-89ab-cdef-0123-456789abcdef\n");
    for (before, verb) in [
        (Before::Running, "state"),
        (Before::Running, "kill"),
        (Before::Running, "delete"),
        (Before::Created, "start"),
        (Before::Created, "delete"),
    ] {
        if !ready(world, before, row, report) {
            continue;
        }
        report.row(row).points += 1;
        let Some(init) = world.init() else { continue };
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(init), nix::sys::signal::Signal::SIGKILL);
        wait_until(|| fs::symlink_metadata(format!("/proc/{init}")).is_err());
        world.remove_cgroups();
        let stranger = crate::pairs::stranger(world, init);
        let over = "/proc/sys/kernel/random/boot_id";
        let mounted = mount(Some(&boot), over, None::<&str>, MsFlags::MS_BIND, None::<&str>).is_ok();
        let args: &[&str] = match verb {
            "kill" => &["kill", id(), "KILL"],
            verb => &[verb, id()],
        };
        let (end, said) = plain(world, args);
        let right = match verb {
            "state" => said.contains("stopped"),
            "delete" => end == End::Code(0),
            _ => end != End::Code(0),
        };
        if !mounted || !right {
            report.row(row).wrong += 1;
            report.finding(format!("{row}: {verb}: {end:?}: {said}"));
        }
        let (last, words) = plain(world, &["delete", "--force", id()]);
        let _ = umount2(over, MntFlags::MNT_DETACH);
        let unharmed = stranger.is_none_or(alive);
        if let Some(pid) = stranger {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let left = settled(world);
        if !unharmed {
            report.row(row).wrong += 1;
            report.finding(format!("{row}: {verb}: a stranger with the old pid was killed"));
        }
        if last == End::Code(0) && left.is_empty() {
            report.row(row).recovered += 1;
        } else {
            report.row(row).leaks += 1;
            report.finding(format!("{row}: {verb}: {last:?}: {words}; left: {}", left.words()));
            world.clear();
        }
    }
}

/// aril's own record as an older and as a newer build would have written it, and `OLDER`, another build.
fn versions(world: &World, report: &mut Report) {
    let row = "state of another version";
    for (what, edit) in [("older", older as fn(&mut Vec<Value>)), ("newer", newer), ("not understandable", strange)] {
        if !ready(world, Before::Running, row, report) {
            return;
        }
        let path = world.root.join(id()).join("record");
        let Ok(text) = fs::read_to_string(&path) else {
            report.skipped.push(format!("{row}: the state of {} is not known here", world.runtime));
            let _ = plain(world, &["delete", "--force", id()]);
            return;
        };
        let mut lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.split_once(' ')?.1).ok()).collect();
        edit(&mut lines);
        let text: String =
            lines.iter().map(|line| (line, line.to_string())).map(|(_, json)| format!("{:08x} {json}\n", crc32(json.as_bytes()))).collect();
        let _ = fs::write(&path, text);
        // The copy would tell.
        let _ = fs::remove_file(world.root.join(id()).join("state.json"));
        report.row(row).points += 1;
        let (_, said) = plain(world, &["state", id()]);
        if !said.contains("\"running\"") {
            report.row(row).wrong += 1;
            report.finding(format!("{row}: {what}: state says {said}"));
        }
        recover(world, row, None, &format!("{row}: {what}"), report);
    }
    let Ok(other) = std::env::var("OLDER") else { return report.skipped.push(format!("{row}: OLDER names no other build")) };
    for (first, second) in [(&other, &world.runtime), (&world.runtime, &other)] {
        report.row(row).points += 1;
        let bundle = world.bundle_of(Kind::Plain).display().to_string();
        let root = world.root.display().to_string();
        let run = |program: &str, words: &[&str]| {
            let args: Vec<String> = ["--root", &root].iter().chain(words).map(|w| (*w).to_owned()).collect();
            crate::verbs::command(world, program, &args)
        };
        let steps = [run(first, &["create", "--bundle", &bundle, id()]), run(second, &["start", id()]), run(second, &["state", id()])];
        if steps.iter().any(|(end, _)| *end != End::Code(0)) || world.seen() != Seen::Runs {
            report.row(row).wrong += 1;
            report.finding(format!("{row}: created by {first}, started by {second}: {steps:?}"));
        }
        recover(world, row, None, &format!("{row}: created by {first}"), report);
    }
}

/// Without the fields that came later.
fn older(lines: &mut Vec<Value>) {
    if let Some(intent) = lines.first_mut().and_then(|line| line["intent"].as_object_mut()) {
        intent.retain(|key, _| FIRST.contains(&key.as_str()));
    }
    lines.retain(|line| line == "started" || line["intent"].is_object() || line["created"].is_object());
}

/// The fields of the first version's intent.
const FIRST: [&str; 14] = [
    "boot",
    "creator",
    "oci_version",
    "bundle",
    "rootfs",
    "created",
    "annotations",
    "owner",
    "place",
    "program",
    "own_pid_namespace",
    "poststart",
    "poststop",
    "beneath",
];

/// With a field and with lines that nobody knows.
fn newer(lines: &mut Vec<Value>) {
    if let Some(intent) = lines.first_mut().and_then(|line| line["intent"].as_object_mut()) {
        intent.insert("from_the_future".to_owned(), json!({"a": [1, 2]}));
    }
    lines.insert(1, json!({"future": {"b": true}}));
    lines.push(json!("moved"));
}

/// And without a field that all have so far.
fn strange(lines: &mut Vec<Value>) {
    newer(lines);
    if let Some(intent) = lines.first_mut().and_then(|line| line["intent"].as_object_mut()) {
        intent.remove("place");
    }
}

/// CRC-32 of ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
