//! `create`: from a bundle to a container that waits for `start`. `run` goes the same way.

use super::descriptors::Descriptors;
use super::filters::{self, Kept};
use super::store::{Created, GATE, Identity, Intent, Line, Record, Store};
use super::{Creation, Global, Id, Status, delete, extensions, home, notify, pidfd, rootless, state_file, why};
use crate::boot::spawn::{Attend, Executor, network, serve, spawn};
use crate::boot::talk::{Label, answer};
use crate::boot::{hooks, idmaps, net_devices, open, resctrl, scheduling};
use crate::cgroup::{self, Cgroup, Limits, Place};
use crate::compile::hooks::Hooks;
use crate::compile::intel_rdt::{self, Wanted};
use crate::compile::plan::Network;
use crate::compile::{self, Plan, Request, Source, process::capabilities::asked, process::limits_from_outside};
use crate::config::{self, Invalid, Loaded, Pointer, annotations};
use crate::error::{Doing, Error, Result};
use crate::host::{Host, KERNEL_FLOOR, TooOld};
use crate::log::Log;
use crate::sys::process::Child;
use crate::sys::{self, Errno};
use aril_plan::{Ask, Op};
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the container is started: the words of the command line that differ between `create` and `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It waits at the gate.
    Create,
    /// It goes on, and this process does not wait for it.
    Detached,
    /// It goes on, and this process waits for it.
    Foreground,
}

/// Everything that is decided before anything is made.
#[derive(Debug)]
pub struct Prepared {
    /// The configuration.
    pub loaded: Loaded,
    /// The machine.
    pub host: Host,
    /// The bundle, absolute and without links.
    pub bundle: PathBuf,
    /// The root file system, absolute and without links.
    pub rootfs: PathBuf,
    /// Where its cgroup will be.
    pub place: Place,
    /// The limits of its cgroup.
    pub limits: Limits,
    /// The user to whom its cgroup is given.
    pub cgroup_owner: Option<u32>,
    /// Its hooks.
    pub hooks: Hooks,
    /// Its resctrl group.
    pub resctrl: Option<Wanted>,
    /// Its seccomp filter, as far as it was kept.
    pub kept: Kept,
    /// What the executor will do.
    pub plan: Plan,
    /// How many descriptors from 3 on are the container's.
    pub preserve_fds: u32,
    /// Whether the container gets a socket to say on that it is ready.
    pub notifies: bool,
}

/// Loads, probes and compiles; makes nothing.
///
/// # Errors
/// The bundle cannot be read, or the configuration cannot be.
pub fn prepare(global: &Global, creation: &Creation, mode: Mode) -> Result<Prepared> {
    let bundle = directory(&creation.bundle).doing(|| format!("cannot open the bundle {}", creation.bundle.display()))?;
    let path = creation.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    let mut loaded = config::load(&path)?;
    let mut host = Host::probe().doing(|| "cannot look at this machine".to_owned())?;
    host.probe_bounding(asked(loaded.spec.process().as_ref().and_then(|process| process.capabilities().as_ref())));
    let labels = loaded.spec.process().as_ref().is_some_and(|p| p.apparmor_profile().is_some() || p.selinux_label().is_some());
    if labels || loaded.spec.linux().as_ref().is_some_and(|linux| linux.mount_label().is_some()) {
        host.probe_modules();
    }
    if host.kernel < KERNEL_FLOOR {
        return Err(Error::Other(TooOld(host.kernel).to_string()));
    }
    config::check_top(&loaded.spec)?;
    rootless::user_namespace(&mut loaded.spec, &host)?;
    extensions::seccomp(&mut loaded.spec, creation.seccomp_receiver.as_deref())?;
    extensions::clocks(&mut loaded.spec)?;
    let root = loaded.spec.root().as_ref().ok_or_else(|| Invalid::new(&Pointer::default(), "root is missing"))?;
    let at = Pointer::to("/root/path");
    if root.path().as_os_str().is_empty() {
        return Err(Invalid::new(&at, "the path of the root file system is empty").into());
    }
    let rootfs =
        directory(&bundle.join(root.path())).doing_at(&at, || format!("cannot open the root file system {}", root.path().display()))?;
    let place = Place::resolve(&loaded.spec, creation.id.as_str(), &host, global.cgroup_manager)?;
    let limits = Limits::resolve(loaded.spec.linux().as_ref(), &place, &host)?;
    let namespaces = loaded.spec.linux().as_ref().map(|linux| compile::namespaces::resolve(linux, 0)).transpose()?;
    let own_cgroup = namespaces.is_some_and(|namespaces| namespaces.makes(compile::namespaces::CGROUP));
    let cgroup_owner = cgroup::owner::resolve(&loaded.spec, own_cgroup, &host);
    let hooks = compile::hooks::resolve(loaded.spec.hooks().as_ref())?;
    let mut descriptors = Descriptors::of(creation.preserve_fds)?;
    let notify = creation.notify.then(|| notify::mount(&mut loaded.spec, &global.root.join(creation.id.as_str()))).flatten();
    let notifies = notify.is_some();
    descriptors.env.extend(notify);
    let kept = filters::look_up(global, &loaded.spec, &host);
    let request = Request {
        spec: &loaded.spec,
        id: creation.id.as_str(),
        bundle: &bundle,
        rootfs: &rootfs,
        host: &host,
        place: &place,
        hosts_namespaces: hosts_namespaces(&loaded.spec),
        links: &links(&loaded.spec, &bundle),
        program: loaded.process,
        gate: mode == Mode::Create,
        no_pivot: creation.no_pivot,
        no_new_keyring: creation.no_new_keyring,
        preserve_fds: descriptors.count,
        env: &descriptors.env,
        filter: kept.filter.as_ref(),
        exec: None,
    };
    let plan = compile::compile(request)?;
    let preserve_fds = descriptors.count;
    let resctrl = loaded.spec.linux().as_ref().map(|linux| intel_rdt::resolve(linux, creation.id.as_str())).transpose()?.flatten();
    Ok(Prepared { resctrl, bundle, rootfs, place, limits, cgroup_owner, hooks, kept, plan, preserve_fds, notifies, host, loaded })
}

/// What the symbolic links say that mounts are to copy. A source that is none, or is not there, is mounted, or is missed then.
fn links(spec: &config::spec::Spec, bundle: &Path) -> BTreeMap<usize, PathBuf> {
    let sources = compile::mounts::copied_links(spec.mounts().as_deref().unwrap_or_default(), bundle);
    sources.filter_map(|(i, source)| Some((i, sys::fs::read_link(&source).ok()?))).collect()
}

/// The kinds of those namespaces that the configuration names by a path and that this process is in.
fn hosts_namespaces(spec: &config::spec::Spec) -> u32 {
    let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let paths = list.iter().filter_map(|namespace| namespace.path().as_deref());
    paths.filter_map(|path| sys::process::own_namespace(path).ok().flatten()).fold(0, |kinds, kind| kinds | kind)
}

/// The absolute path without links of a directory. By `openat2(2)`, so that where that is refused nothing has been made: without it the cgroup could
/// not be removed again.
fn directory(path: &Path) -> Result<PathBuf> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| sys::Error::new("openat2", path, Errno::EINVAL))?;
    let dir = sys::fs::openat2(nix::fcntl::AT_FDCWD, &name, (OFlag::O_PATH | OFlag::O_DIRECTORY).bits(), 0, 0)?;
    Ok(sys::fs::real_path(&dir)?)
}

/// So many descriptors it takes to undo what was made (on cgroup v1 two for each hierarchy): with fewer a failure would leave it behind.
const OPEN_FILES_MIN: u64 = 48;

fn check_open_files() -> Result<()> {
    let (soft, _) = sys::process::own_limit(libc::RLIMIT_NOFILE)?;
    if soft < OPEN_FILES_MIN {
        return Err(Error::Other(format!(
            "the limit of open files (RLIMIT_NOFILE) is {soft}: a container cannot be made with less than {OPEN_FILES_MIN}"
        )));
    }
    Ok(())
}

/// A terminal needs somebody who takes its master.
fn check_terminal(loaded: &Loaded, creation: &Creation, mode: Mode) -> Result<()> {
    let terminal = loaded.spec.process().as_ref().and_then(config::spec::Process::terminal).unwrap_or(false);
    let at = Pointer::to("/process/terminal");
    match (terminal, creation.console_socket.is_some(), mode) {
        (true, false, Mode::Create | Mode::Detached) => {
            Err(Invalid::new(&at, "a terminal of a container that is left alone needs --console-socket").into())
        }
        (false, true, _) => Err(Invalid::new(&at, "--console-socket is given, but the process has no terminal").into()),
        (true, true, Mode::Foreground) => Err(Invalid::new(&at, "--console-socket is for create and run --detach").into()),
        _ => Ok(()),
    }
}

/// A container that is created, and this process's ties to it.
#[derive(Debug)]
pub struct Made {
    /// Its state directory, locked.
    pub store: Store,
    /// Its record.
    pub record: Record,
    /// Its executor, which waits for the host's last word.
    pub executor: Executor,
    /// The steps that are left.
    pub steps: Vec<Label>,
    /// The terminal's master, where nobody else took it.
    pub terminal: Option<OwnedFd>,
    /// The hooks.
    pub hooks: Hooks,
    /// Its cgroup.
    pub cgroup: Cgroup,
}

/// `create`
///
/// # Errors
/// Everything that can go wrong; nothing is left behind then.
pub fn create(global: &Global, creation: &Creation) -> Result<()> {
    let made = make(global, creation, Mode::Create)?;
    // From here on the container is its manager's: the executor is let go.
    answer(&made.executor.talk, &[]).or_else(|error| {
        // Nobody lets it go any more, and it ends.
        let error = Err(error).doing(|| format!("cannot let go of container {}", creation.id));
        made.undo(global, &creation.id).and(error)
    })?;
    // This process ends next, and with it what it has open: nothing is closed one by one.
    std::mem::forget(made);
    Ok(())
}

impl Made {
    /// Destroys it.
    ///
    /// # Errors
    /// What could not be undone.
    pub fn undo(&self, global: &Global, id: &Id) -> Result<()> {
        delete::destroy(global, &self.store, id, Some(&self.record))
    }
}

/// Creates the container. If it fails, what was made is undone.
///
/// # Errors
/// As of [`create`].
pub fn make(global: &Global, creation: &Creation, mode: Mode) -> Result<Made> {
    let mut prepared = prepare(global, creation, mode)?;
    sys::fs::close_on_exec_from(3)?;
    check_terminal(&prepared.loaded, creation, mode)?;
    for warning in prepared.loaded.warnings.iter().chain(&prepared.plan.warnings) {
        global.log.warn(warning);
    }
    let console = creation.console_socket.as_deref().map(sys::socket::connect).transpose();
    let console = console.doing(|| "cannot connect to the console socket".to_owned())?;
    check_open_files()?;
    let by_annotation = annotations::get(&prepared.loaded.spec, annotations::PIDFD_RECEIVER).map(Path::new);
    let pidfd_socket = pidfd::connect(creation.pidfd_socket.as_deref().or(by_annotation))?;
    let record = Record { intent: intent(&prepared)?, created: None, started: false };
    let store = Store::claim(global, &creation.id)?;
    let mut making = Making { log: &global.log, creation, console, pidfd_socket, terminal: None, record, prepared: &mut prepared };
    match making.all(&store, mode) {
        Ok((executor, cgroup)) => {
            let Making { terminal, record, .. } = making;
            let steps = record.created.as_ref().map(|c| c.steps.clone()).unwrap_or_default();
            Ok(Made { store, record, executor, steps, terminal, hooks: prepared.hooks, cgroup })
        }
        Err(error) => {
            if let Err(left) = delete::destroy(global, &store, &creation.id, Some(&making.record)) {
                // Both matter: why it failed, and what could not be undone.
                return Err(Error::Other(format!("{}; and then {}", error.chain(), left.chain())));
            }
            Err(error)
        }
    }
}

fn intent(prepared: &Prepared) -> Result<Intent> {
    let spec = &prepared.loaded.spec;
    let pid_namespace =
        |linux: &config::spec::Linux| compile::namespaces::resolve(linux, 0).is_ok_and(|n| n.makes(compile::namespaces::PID));
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    Ok(Intent {
        boot: sys::process::boot_id()?,
        creator: Identity::default(),
        oci_version: spec.version().clone(),
        bundle: prepared.bundle.clone(),
        rootfs: prepared.rootfs.clone(),
        created: humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string(),
        annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        owner: prepared.host.euid,
        beneath: prepared.plan.on_host.then(|| sys::mount::id(&prepared.rootfs)).transpose()?,
        resctrl: prepared.resctrl.as_ref().map(|wanted| resctrl::mount().map(|mount| resctrl::Group::of(wanted, &mount))).transpose()?,
        listener: seccomp.and_then(|seccomp| compile::seccomp::Listener::of(seccomp, &prepared.bundle)),
        place: prepared.place.clone(),
        resources: cgroup::remembered(spec.linux().as_ref())?,
        program: prepared.loaded.process,
        own_pid_namespace: spec.linux().as_ref().is_some_and(pid_namespace),
        poststart: prepared.hooks.poststart.clone(),
        poststop: prepared.hooks.poststop.clone(),
    })
}

/// The making of one container.
struct Making<'a> {
    log: &'a Log,
    creation: &'a Creation,
    console: Option<OwnedFd>,
    pidfd_socket: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    record: Record,
    prepared: &'a mut Prepared,
}

impl Making<'_> {
    /// The order is forced: the record before anything it speaks of, the cgroup before the process that is born in it.
    fn all(&mut self, store: &Store, mode: Mode) -> Result<(Executor, Cgroup)> {
        store.append(&Line::Intent(Box::new(self.record.intent.clone())))?;
        if self.prepared.notifies {
            notify::prepare(store)?;
        }
        let cgroup = Cgroup::create_with(&mut self.prepared.place, &self.prepared.limits);
        if self.prepared.place.unit.as_ref().is_some_and(|unit| unit.made) {
            self.record.intent.place = self.prepared.place.clone();
            store.append(&Line::Placed(self.prepared.place.clone()))?;
        }
        let mut cgroup = cgroup?;
        cgroup.mark(&store.mark()?);
        if let Some(uid) = self.prepared.cgroup_owner {
            cgroup.give(uid)?;
        }
        cgroup.limit_set_up(&self.prepared.limits)?;
        // On v1 the rules are written one by one, and the first denies all: nobody may be in there yet, who makes device nodes.
        if cgroup.writes_devices() {
            cgroup.apply_devices(&self.prepared.limits)?;
        }
        if let Some((group, wanted)) = self.record.intent.resctrl.as_ref().zip(self.prepared.resctrl.as_ref()) {
            group.create(wanted)?;
        }
        let executor = self.within(store, mode, &mut cgroup).map_err(|error| why::explained(error, Some(&cgroup)))?;
        Ok((executor, cgroup))
    }

    /// The process, in its cgroup.
    fn within(&mut self, store: &Store, mode: Mode, cgroup: &mut Cgroup) -> Result<Executor> {
        let gate = match mode {
            Mode::Create => Some(sys::socket::bind_at(store.dir(), GATE)?),
            Mode::Detached | Mode::Foreground => None,
        };
        let process = self.prepared.loaded.spec.process();
        let oom = process.as_ref().and_then(config::spec::Process::oom_score_adj);
        let host = &self.prepared.host;
        let mut executor =
            spawn(&self.prepared.plan, &self.prepared.place, Some(cgroup), gate.as_ref(), self.prepared.preserve_fds, &mut |child| {
                self.record.intent.resctrl.as_ref().map_or(Ok(()), |group| group.join(child.pid))?;
                oom.map_or(Ok(()), |score| oom_score_adj(child, score, host))
            })?;
        cgroup.release();
        let plan = std::mem::take(&mut self.prepared.plan);
        let network = if plan.network == Network::None { Ok(()) } else { network(&executor) };
        let served = network.and_then(|()| {
            serve(&mut executor, &plan, self, |making, executor| making.meanwhile(store, &plan, cgroup, executor)).map(drop)
        });
        let served = served.and_then(|()| cgroup.limit_processes(&self.prepared.limits));
        if let Err(error) = served {
            // A stepwise executor that has not forked is not in the record. Where it cannot be signalled it ends when its socket does.
            let Executor { process, talk } = executor;
            drop(talk);
            let _ = sys::process::pidfd_send_signal(&process.pidfd, libc::SIGKILL);
            let _ = sys::process::wait(&process.pidfd);
            return Err(error);
        }
        self.commit(store, &plan, &executor)?;
        filters::keep(self.log, store, &self.prepared.kept, plan.filter.as_ref());
        Ok(executor)
    }

    /// What need not stand before the executor begins, but before anything of the user's runs: the host does it while the executor mounts.
    fn meanwhile(&mut self, store: &Store, plan: &Plan, cgroup: &Cgroup, executor: &Executor) -> Result<()> {
        if !cgroup.writes_devices() {
            cgroup.apply_devices(&self.prepared.limits)?;
        }
        // Whoever forks is not the container's first process.
        if plan.namespaces != 0 { self.describe(store, plan, executor) } else { Ok(()) }
    }

    /// Says who the container's process is, in the record that is to be committed and in the state file.
    fn describe(&mut self, store: &Store, plan: &Plan, executor: &Executor) -> Result<()> {
        self.record.created = Some(Created { process: Identity::of(&executor.process)?, steps: Label::after_created(plan) });
        state_file::write(store, &self.creation.id, &self.record)
    }

    /// The hooks that see the host's tree. To prestart hooks the container is created: they come from the time when `start` ran them, and hold
    /// the state against that.
    fn runtime_hooks(&self, pid: i32) -> Result<()> {
        let state = |status| self.record.hook_state(&self.creation.id, status, pid);
        let (bundle, output) = (&self.prepared.bundle, self.record.hook_output());
        hooks::run_all(&self.prepared.hooks.prestart, &state(Status::Created), bundle, &output)?;
        hooks::run_all(&self.prepared.hooks.create_runtime, &state(Status::Creating), bundle, &output)
    }

    /// Sets a property of `process` from outside.
    fn process(&self, executor: &Child, set: fn(i32, &config::spec::Process, &Pointer) -> Result<()>) -> Result<()> {
        let process = self.prepared.loaded.spec.process();
        process.as_ref().map_or(Ok(()), |process| set(executor.pid, process, &Pointer::to("/process")))
    }

    /// The container is created: says so in the record, and to whoever wants to know the pid.
    fn commit(&mut self, store: &Store, plan: &Plan, executor: &Executor) -> Result<()> {
        let pid = executor.process.pid;
        if self.record.created.is_none() {
            self.describe(store, plan, executor)?;
        }
        let needed = super::compact::encode(&self.record, &self.prepared.loaded.spec, self.creation.no_new_keyring, plan.filter.as_ref())?;
        store.write_exec(&needed)?;
        if let Some(created) = &self.record.created {
            store.append(&Line::Created(created.clone()))?;
        }
        pidfd::send(self.pidfd_socket.take(), &executor.process)?;
        if let Some(path) = &self.creation.pid_file {
            write_pid_file(path, pid).doing(|| format!("cannot write the pid file {}", path.display()))?;
        }
        Ok(())
    }
}

impl Attend for Making<'_> {
    fn copy(&mut self, source: &Source) -> Result<OwnedFd> {
        open::one(source, &self.prepared.place)
    }

    fn attend(&mut self, plan: &Plan, step: u32, executor: &Child, file: Option<OwnedFd>) -> Result<Vec<u8>> {
        let nobody = || Error::Other(format!("the executor asked for step {step}, which is not for the host"));
        let (_, op) = plan.step(step).ok_or_else(nobody)?;
        let spec = &self.prepared.loaded.spec;
        let done = |()| Vec::new();
        match op {
            Op::Ask { what: Ask::IdMaps } => idmaps::write(executor.pid, spec, &self.prepared.host).map(done),
            Op::Ask { what: Ask::TimeOffsets } => idmaps::write_time_offsets(executor.pid, spec).map(done),
            Op::Ask { what: Ask::Cgroup } => {
                Cgroup::open(&self.prepared.place)?.map_or(Ok(()), |cgroup| cgroup.enter_delegated(executor.pid)).map(done)
            }
            Op::Ask { what: Ask::RuntimeHooks } => self.runtime_hooks(executor.pid).map(done),
            Op::Ask { what: Ask::Rlimits } => spec.process().as_ref().map_or(Ok(()), |process| limits(executor.pid, process)).map(done),
            Op::Ask { what: Ask::NetDevices } => {
                let devices = spec.linux().as_ref().map(compile::net_devices::resolve).transpose()?.unwrap_or_default();
                net_devices::hand_over(executor.pid, &devices).map(done)
            }
            Op::Ask { what: Ask::Scheduler } => self.process(executor, scheduling::set_scheduler).map(done),
            Op::Ask { what: Ask::IoPriority } => self.process(executor, scheduling::set_io_priority).map(done),
            Op::Hook { .. } => {
                // In the container the pid is the one that is seen there (runtime-spec, "State").
                let pid = sys::process::pid_inside(executor.pid)?;
                Ok(self.record.hook_state(&self.creation.id, Status::Creating, pid).into_bytes())
            }
            Op::Home { uid } => Ok(home::home(file, uid)),
            Op::Console { .. } => {
                self.terminal = kept_terminal(file.ok_or_else(nobody)?, self.console.take())?;
                Ok(done(()))
            }
            _ => Err(nobody()),
        }
    }
}

/// Sets resource limits from outside of the executor's user namespace.
pub(super) fn limits(pid: i32, process: &config::spec::Process) -> Result<()> {
    for limit in limits_from_outside(process)? {
        let value = limit.value;
        let set = sys::process::prlimit(pid, value.resource, value.soft, value.hard);
        set.doing_at(&limit.at, || format!("cannot set the limit to {} (soft) and {} (hard)", value.soft, value.hard))?;
    }
    Ok(())
}

/// A terminal's master, unless there is a console socket that takes it.
pub(super) fn kept_terminal(master: OwnedFd, console: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
    let Some(socket) = console else { return Ok(Some(master)) };
    // The payload is the terminal's name; receivers look at the descriptor alone.
    let sent = sys::socket::send(&socket, b"/dev/ptmx", &[master.as_raw_fd()]);
    sent.doing(|| "cannot send the terminal to the console socket".to_owned()).map(|()| None)
}

/// Written before the executor does anything: its children inherit it.
pub(super) fn oom_score_adj(child: &Child, score: i32, host: &Host) -> Result<()> {
    let path = format!("/proc/{}/oom_score_adj", child.pid);
    match sys::fs::write_file(Path::new(&path), score.to_string().as_bytes()) {
        // An unprivileged user may not lower it; managers ask for it all the same.
        Err(sys::Error { errno: Errno::EACCES | Errno::EPERM, .. }) if !host.rootful() => Ok(()),
        other => other.doing_at(&Pointer::to("/process/oomScoreAdj"), || format!("cannot set oom_score_adj to {score}")),
    }
}

/// Decimal, without a newline, and never half of it.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| Error::Other("the path has no file name".to_owned()))?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = sys::fs::open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
    Ok(sys::fs::replace_file(&dir, name, pid.to_string().as_bytes(), 0o644)?)
}
