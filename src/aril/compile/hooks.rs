//! Hooks: which are run by whom, and when.

use super::plan::{Plan, Source, Strings, c_string};
use super::process::scheduling;
use super::{Subject, namespaces};
use crate::config::{Invalid, Pointer, annotations, spec};
use aril_plan::{Ask, Op, Slot};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A hook as it is executed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Where in the configuration.
    pub at: String,
    /// The program.
    pub path: CString,
    /// Its arguments, the name among them.
    pub args: Vec<CString>,
    /// Its environment: exactly what the configuration says.
    pub env: Vec<CString>,
    /// In seconds; `None` is without end.
    pub timeout: Option<u32>,
}

/// The names of the lists, in the order in which they are run.
pub const NAMES: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The six lists, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Run by the host, which sees its own tree.
    pub prestart: Vec<Hook>,
    /// Run by the host after those.
    pub create_runtime: Vec<Hook>,
    /// Run in the container's namespaces, before the pivot.
    pub create_container: Vec<Hook>,
    /// Run in the container, before the user's program.
    pub start_container: Vec<Hook>,
    /// Run by the host when the user's program runs.
    pub poststart: Vec<Hook>,
    /// Run by the host when the container is deleted.
    pub poststop: Vec<Hook>,
}

/// The files that hooks write to, where the annotations name any (crun(1), `run.oci.hooks.stdout`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Option<PathBuf>,
    /// Standard error.
    pub stderr: Option<PathBuf>,
}

impl Output {
    /// Those that annotations name; a relative path is meant from the bundle, where hooks run.
    #[must_use]
    pub fn of<'a>(annotation: impl Fn(&str) -> Option<&'a str>, bundle: &Path) -> Output {
        let path = |name| annotation(name).filter(|path| !path.is_empty()).map(|path| bundle.join(path));
        Output { stdout: path(annotations::HOOKS_STDOUT), stderr: path(annotations::HOOKS_STDERR) }
    }
}

/// Reads all hooks.
///
/// # Errors
/// A path that is not absolute, a NUL, a timeout that is not positive.
pub fn resolve(hooks: Option<&spec::Hooks>) -> Result<Hooks, Invalid> {
    let Some(hooks) = hooks else { return Ok(Hooks::default()) };
    let list = |name: usize, list: &Option<Vec<spec::Hook>>| -> Result<Vec<Hook>, Invalid> {
        let at = Pointer::to("/hooks").of(NAMES[name]);
        list.iter().flatten().enumerate().map(|(i, hook)| one(hook, &at.of(i))).collect()
    };
    Ok(Hooks {
        #[allow(deprecated)] // managers still use it
        prestart: list(0, hooks.prestart())?,
        create_runtime: list(1, hooks.create_runtime())?,
        create_container: list(2, hooks.create_container())?,
        start_container: list(3, hooks.start_container())?,
        poststart: list(4, hooks.poststart())?,
        poststop: list(5, hooks.poststop())?,
    })
}

fn one(hook: &spec::Hook, at: &Pointer) -> Result<Hook, Invalid> {
    let path = hook.path();
    if !path.is_absolute() {
        return Err(Invalid::new(&at.of("path"), format!("hook path {:?} is not absolute", path.display().to_string())));
    }
    let strings = |key: &str, list: &Option<Vec<String>>| -> Result<Vec<CString>, Invalid> {
        let at = at.of(key);
        list.iter().flatten().enumerate().map(|(i, text)| c_string(text.as_str(), &at.of(i))).collect()
    };
    let path = c_string(path.as_os_str().as_bytes(), &at.of("path"))?;
    let mut args = strings("args", hook.args())?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => return Err(Invalid::new(&at.of("timeout"), format!("timeout {seconds} is not a positive number of seconds"))),
        },
    };
    Ok(Hook { at: at.as_str().to_owned(), path, args, env: strings("env", hook.env())?, timeout })
}

/// The hooks that run before the process changes to its root.
pub(crate) fn before_pivot(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    plan.part(&Pointer::to("/linux/namespaces"), "cannot join the network namespace");
    namespaces::join_network(plan);
    let hooks = resolve(subject.request.spec.hooks().as_ref())?;
    if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
        plan.part(&Pointer::to("/hooks"), "cannot run the hooks");
        plan.push(Op::Ask { what: Ask::RuntimeHooks });
    }
    let output = output(plan, subject, &hooks.create_container);
    push_all(plan, &hooks.create_container, output);
    Ok(())
}

/// The hooks that run in the container, right before the user's program.
pub(crate) fn before_exec(plan: &mut Plan, subject: &Subject<'_>, output: [Slot; 2]) -> Result<(), Invalid> {
    let hooks = resolve(subject.request.spec.hooks().as_ref())?.start_container;
    if !hooks.is_empty() && subject.process.scheduler().as_ref().is_some_and(scheduling::forbids_fork) {
        let why = "a process with SCHED_DEADLINE cannot make another one for the startContainer hooks (sched(7)): \
            add the flag SCHED_FLAG_RESET_ON_FORK, or leave out these hooks";
        return Err(Invalid::new(&Pointer::to("/process/scheduler"), why));
    }
    push_all(plan, &hooks, output);
    Ok(())
}

/// What those write to. They see the container's tree, so the host opens it, and the waiting container keeps it.
pub(crate) fn late_output(plan: &mut Plan, subject: &Subject<'_>) -> Result<[Slot; 2], Invalid> {
    let hooks = resolve(subject.request.spec.hooks().as_ref())?.start_container;
    Ok(output(plan, subject, &hooks))
}

fn output(plan: &mut Plan, subject: &Subject<'_>, hooks: &[Hook]) -> [Slot; 2] {
    if hooks.is_empty() {
        return [Slot::NONE; 2];
    }
    let Output { stdout, stderr } = Output::of(|name| annotations::get(subject.request.spec, name), subject.request.bundle);
    let mut open = |name: &str, path: Option<PathBuf>| {
        let Some(path) = path else { return Slot::NONE };
        plan.part(&annotations::pointer(name), "cannot open what hooks write to");
        plan.source(Source::Log { path })
    };
    [open(annotations::HOOKS_STDOUT, stdout), open(annotations::HOOKS_STDERR, stderr)]
}

fn push_all(plan: &mut Plan, hooks: &[Hook], output: [Slot; 2]) {
    for hook in hooks {
        plan.part(&Pointer::to(&hook.at), format!("hook {} failed", hook.path.to_string_lossy()));
        let (args, env): (Strings, Strings) = (hook.args.iter().collect(), hook.env.iter().collect());
        plan.push(Op::Hook { path: &hook.path, args: args.list(), env: env.list(), timeout: hook.timeout.unwrap_or(0), output });
    }
}
