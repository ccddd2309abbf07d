//! `exec`: another process in a container that runs.

use super::compact::{self, Compact};
use super::create::{kept_terminal, limits, oom_score_adj, write_pid_file};
use super::descriptors::Descriptors;
use super::status::{Verb, allow};
use super::store::Store;
use super::{Global, Id, Refused, Status, home, pidfd, terminal, why};
use crate::boot::listener::hand_over;
use crate::boot::scheduling;
use crate::boot::spawn::{Attend, Executor, serve, spawn};
use crate::boot::talk::{Heard, Label, answer, hear};
use crate::cgroup::join::Below;
use crate::cgroup::{Cgroup, Frozen};
use crate::compile::exec::Joining;
use crate::compile::namespaces::{self, MOUNT};
use crate::compile::process::capabilities::asked;
use crate::compile::process::scheduling::affinity;
use crate::compile::seccomp::{Filter, Listener};
use crate::compile::{Plan, Request, Source};
use crate::config::{Invalid, Loaded, Pointer, spec};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use crate::sys::process::Child;
use crate::sys::{self, Errno};
use aril_plan::talk::{About, Report};
use aril_plan::{Ask, Op};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// `exec`
#[derive(Debug, Clone)]
pub struct Execution {
    /// The container.
    pub id: Id,
    /// What is said of the process.
    pub process: super::exec_process::Said,
    /// Do not wait for the process.
    pub detach: bool,
    /// A unix socket that gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// A unix socket that gets the process as a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// A file that gets the pid.
    pub pid_file: Option<PathBuf>,
    /// So many descriptors from 3 on are the process's.
    pub preserve_fds: u32,
    /// Wait for a container that is paused.
    pub ignore_paused: bool,
    /// Cgroups below the container's.
    pub cgroups: Vec<Below>,
}

/// `exec`; the status that the command ends with: in the foreground the process's own, or 128 + the signal that ended it.
///
/// # Errors
/// The container does not run, or the process cannot be started in it.
pub fn exec(global: &Global, execution: &Execution) -> Result<u8> {
    attempt(global, execution).map_err(|error| Error::Exec(Box::new(error)))
}

fn attempt(global: &Global, execution: &Execution) -> Result<u8> {
    let descriptors = Descriptors::of(execution.preserve_fds)?;
    sys::fs::close_on_exec_from(3)?;
    let store = Store::open(global, &execution.id)?;
    store.share()?;
    let needed = needed(&store, &execution.id)?;
    let (compact, filter) = compact::decode(&needed)?;
    let loaded = execution.process.load(&compact)?;
    let console = console(&loaded, execution)?;
    let pidfd_socket = pidfd::connect(execution.pidfd_socket.as_deref())?;
    let process = loaded.spec.process().as_ref().ok_or_else(|| Error::Other("there is no process".to_owned()))?;
    let mut host = Host::probe().doing(|| "cannot look at this machine".to_owned())?;
    host.probe_bounding(asked(process.capabilities().as_ref()));
    let (first, cgroup) = ready(&store, &compact, execution)?;
    let mut prepared =
        Prepared { execution, compact: &compact, loaded: &loaded, process, filter: filter.as_ref(), descriptors, host, first };
    let plan = prepared.plan()?;
    for warning in loaded.warnings.iter().chain(&plan.warnings) {
        global.log.warn(warning);
    }
    // From here on they are the process's. Until here one ends this command.
    let signals = if execution.detach { None } else { Some(terminal::Signals::block()?) };
    let mut executor =
        prepared.spawn(&plan, cgroup).map_err(|error| why::explained(error, Cgroup::open(&compact.place).ok().flatten().as_ref()))?;
    drop(prepared);
    let agent = Agent::of(&store, &compact, &execution.id)?;
    store.unlock()?;
    let mut serving = Serving { execution, process, console, pidfd_socket, terminal: None, agent };
    let carrier = match serving.begin(&mut executor, &plan) {
        Ok(carrier) => carrier,
        Err(error) => {
            // It may be none of ours yet, where it could not be signalled; then it ends when its socket does.
            let Executor { process, talk } = executor;
            drop(talk);
            let _ = sys::process::pidfd_send_signal(&process.pidfd, libc::SIGKILL);
            let _ = sys::process::wait(&process.pidfd);
            return Err(why::explained(error, Cgroup::open(&compact.place).ok().flatten().as_ref()));
        }
    };
    // Standard error is the process's by now.
    global.log.flush_to_file();
    let Some(signals) = signals else { return Ok(0) };
    drop(executor.talk);
    let ended = terminal::attend(&executor.process, carrier, &signals);
    ended.map(sys::process::Exit::status).doing(|| "cannot wait for the process".to_owned())
}

/// What the container's `exec` file says.
fn needed(store: &Store, id: &Id) -> Result<Vec<u8>> {
    if let Some(needed) = store.read_exec()? {
        return Ok(needed);
    }
    let status = store.living()?.map_or(Ok(Status::Stopped), |record| record.status(|| Ok(false)))?;
    allow(id, status, Verb::Exec)?;
    Err(Error::Other(format!("container {id} was not made by a version of aril that has exec")))
}

/// The container's first process and its cgroup, where another can be started in them, which stays so as long as the lock is shared. If the
/// container is paused and is to be waited for, that is done without the lock.
fn ready(store: &Store, compact: &Compact<'_>, execution: &Execution) -> Result<(OwnedFd, Option<Cgroup>)> {
    let refused = |status| Error::from(Refused::Status { id: execution.id.clone(), status, verb: Verb::Exec });
    loop {
        let first = if sys::process::boot_id()? == compact.boot { compact.process.pidfd()? } else { None };
        let first = first.ok_or_else(|| refused(Status::Stopped))?;
        let cgroup = Cgroup::open(&compact.place)?;
        match &cgroup {
            // Frozen by whomever, a process that is born there does not run.
            Some(paused) if paused.frozen()? != Frozen::No => {
                if !execution.ignore_paused {
                    return Err(refused(Status::Paused));
                }
                store.unlock()?;
                paused.wait_for_thaw(&first)?;
                store.share()?;
            }
            _ => return Ok((first, cgroup)),
        }
    }
}

/// A terminal needs somebody who takes its master.
fn console(loaded: &Loaded, execution: &Execution) -> Result<Option<OwnedFd>> {
    let terminal = loaded.spec.process().as_ref().and_then(spec::Process::terminal).unwrap_or(false);
    let at = Pointer::to("/process/terminal");
    match (terminal, &execution.console_socket, execution.detach) {
        (true, None, true) => Err(Invalid::new(&at, "a terminal of a process that is left alone needs --console-socket").into()),
        (false, Some(_), _) => Err(Invalid::new(&at, "--console-socket is given, but the process has no terminal").into()),
        (true, Some(_), false) => Err(Invalid::new(&at, "--console-socket is for exec --detach").into()),
        (_, None, _) => Ok(None),
        (_, Some(path), _) => sys::socket::connect(path).map(Some).doing(|| "cannot connect to the console socket".to_owned()),
    }
}

/// Everything that is known before the process is.
struct Prepared<'a> {
    execution: &'a Execution,
    compact: &'a Compact<'a>,
    loaded: &'a Loaded,
    process: &'a spec::Process,
    filter: Option<&'a Filter>,
    descriptors: Descriptors,
    host: Host,
    first: OwnedFd,
}

impl Prepared<'_> {
    fn plan(&mut self) -> Result<Plan> {
        let first = self.compact.process.pid;
        self.find_home();
        if self.process.apparmor_profile().is_some() || self.process.selinux_label().is_some() {
            self.host.probe_modules();
        }
        let linux = self.loaded.spec.linux().as_ref().ok_or_else(|| Error::Other("there is no linux section".to_owned()))?;
        // Those that were made for the container are no others'.
        let made = namespaces::resolve(linux, 0)?.new;
        let kinds = made | sys::namespace::other_namespaces(first, made)?;
        let root = PathBuf::from(format!("/proc/{first}/root"));
        let request = Request {
            spec: &self.loaded.spec,
            id: self.execution.id.as_str(),
            bundle: &self.compact.bundle,
            rootfs: &self.compact.rootfs,
            host: &self.host,
            place: &self.compact.place,
            hosts_namespaces: !kinds,
            links: const { &std::collections::BTreeMap::new() },
            program: true,
            gate: false,
            no_pivot: false,
            no_new_keyring: self.compact.no_new_keyring,
            preserve_fds: self.descriptors.count,
            env: &self.descriptors.env,
            filter: self.filter,
            exec: Some(Joining { kinds, root: (kinds & MOUNT == 0).then_some(&*root), waits: self.waits() }),
        };
        Ok(crate::compile::exec::compile(request)?)
    }

    /// Whether there is something to do when the process is there, before its program runs.
    fn waits(&self) -> bool {
        self.execution.pid_file.is_some() || self.execution.pidfd_socket.is_some() || self.process.terminal().unwrap_or(false)
    }

    /// `HOME`, if this process can find it; otherwise the executor asks for it.
    fn find_home(&mut self) {
        let has = |env: &[String]| env.iter().any(|variable| variable.starts_with("HOME="));
        if !self.host.privileged() || has(self.process.env().as_deref().unwrap_or_default()) {
            return;
        }
        let file = home::in_root_of(self.compact.process.pid);
        let home = home::home(file, self.process.user().uid());
        self.descriptors.env.extend(String::from_utf8(home).ok().map(|home| home.trim_end_matches('\0').to_owned()));
    }

    /// Starts the executor in the container's cgroup; where that takes no process, in that of the container's first process.
    fn spawn(&self, plan: &Plan, cgroup: Option<Cgroup>) -> Result<Executor> {
        let oom = self.process.oom_score_adj();
        let into = |cgroup: Option<&Cgroup>| {
            spawn(plan, &self.compact.place, cgroup, Some(&self.first), self.descriptors.count, &mut |child| {
                self.compact.resctrl.as_ref().map_or(Ok(()), |group| group.join(child.pid))?;
                oom.map_or(Ok(()), |score| oom_score_adj(child, score, &self.host))
            })
        };
        // Where it is before it is in the cgroup, this process is.
        let initial = affinity(self.process, &Pointer::to("/process"))?.initial;
        if !initial.is_empty() {
            let at = Pointer::to("/process/execCPUAffinity/initial");
            sys::sched::set_affinity(&initial).doing_at(&at, || "cannot go to the CPUs".to_owned())?;
        }
        let asked = &self.execution.cgroups;
        let known = cgroup.is_some();
        let own = cgroup.map(|cgroup| if asked.is_empty() { cgroup.of_payload() } else { cgroup.below(asked) }).transpose();
        match own.and_then(|own| into(own.as_ref())) {
            // It hands controllers down, or is gone: the payload has moved to others.
            Err(error) if known && asked.is_empty() && matches!(error.errno(), Some(Errno::EBUSY | Errno::ENOENT)) => {
                let cgroup = Cgroup::open(&self.compact.place)?.map(|cgroup| cgroup.of_process(self.compact.process.pid)).transpose()?;
                into(cgroup.as_ref())
            }
            other => other,
        }
    }
}

/// What the host does for the executor.
struct Serving<'a> {
    execution: &'a Execution,
    process: &'a spec::Process,
    console: Option<OwnedFd>,
    pidfd_socket: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    agent: Option<Agent<'a>>,
}

/// Who is to have the descriptor of the process's seccomp filter.
struct Agent<'a> {
    listener: &'a Listener,
    oci_version: &'a str,
    /// The container's.
    state: String,
}

impl Agent<'_> {
    fn of<'a>(store: &Store, compact: &'a Compact<'_>, id: &Id) -> Result<Option<Agent<'a>>> {
        let Some(listener) = &compact.listener else { return Ok(None) };
        let record = store.living()?.ok_or_else(|| Error::from(Refused::Missing { id: id.clone() }))?;
        let state = record.hook_state(id, Status::Running, compact.process.pid);
        Ok(Some(Agent { listener, oci_version: &compact.oci_version, state }))
    }
}

impl Serving<'_> {
    /// From the first step to the user's program.
    fn begin(&mut self, executor: &mut Executor, plan: &Plan) -> Result<Option<terminal::Carrier>> {
        let mut leaving = serve(executor, plan, self, |_, _| Ok(()))? == About::Leaving;
        let mut carrier = None;
        if !leaving {
            pidfd::send(self.pidfd_socket.take(), &executor.process)?;
            let pid = executor.process.pid;
            if let Some(path) = &self.execution.pid_file {
                write_pid_file(path, pid).doing(|| format!("cannot write the pid file {}", path.display()))?;
            }
            carrier = self.terminal.take().map(terminal::Carrier::new).transpose()?;
            answer(&executor.talk, &[])?;
        }
        loop {
            match hear(&executor.talk)? {
                Heard::Silence if leaving && self.agent.is_none() => return Ok(carrier),
                Heard::Silence => return Err(crate::boot::spawn::dead(executor, "before its program was run")),
                Heard::Report(Report { about: About::Leaving, .. }, _) => leaving = true,
                // The filter is loaded; the program is not run before its agent has it.
                Heard::Report(Report { about: About::Ask, .. }, Some(filter)) => {
                    if let Some(Agent { listener, oci_version, state }) = self.agent.take() {
                        hand_over(listener, oci_version, executor.process.pid, &state, &filter)?;
                    }
                    answer(&executor.talk, &[])?;
                }
                Heard::Fault(report, detail) => return Err(Label::of(plan, report.step).fault(&report, detail).into()),
                Heard::Report(report, _) => return Err(Error::Other(format!("the executor sent an unexpected report: {report:?}"))),
            }
        }
    }
}

impl Attend for Serving<'_> {
    fn copy(&mut self, _: &Source) -> Result<OwnedFd> {
        Err(Error::Other("the executor asked for a mount, and exec makes none".to_owned()))
    }

    fn attend(&mut self, plan: &Plan, step: u32, executor: &Child, file: Option<OwnedFd>) -> Result<Vec<u8>> {
        let nobody = || Error::Other(format!("the executor asked for step {step}, which is not for the host"));
        let (_, op) = plan.step(step).ok_or_else(nobody)?;
        let (done, at) = (|()| Vec::new(), Pointer::to("/process"));
        match op {
            Op::Ask { what: Ask::Rlimits } => limits(executor.pid, self.process).map(done),
            Op::Ask { what: Ask::Scheduler } => scheduling::set_scheduler(executor.pid, self.process, &at).map(done),
            Op::Ask { what: Ask::IoPriority } => scheduling::set_io_priority(executor.pid, self.process, &at).map(done),
            Op::Home { uid } => Ok(home::home(file, uid)),
            Op::Console { .. } => {
                self.terminal = kept_terminal(file.ok_or_else(nobody)?, self.console.take())?;
                Ok(done(()))
            }
            _ => Err(nobody()),
        }
    }
}
