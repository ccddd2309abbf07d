//! The program: where it is looked for, its working directory, its arguments and environment.

use super::search;
use crate::compile::Subject;
use crate::compile::plan::{Plan, Strings, c_string};
use crate::config::{Invalid, Pointer};
use aril_plan::Op;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

fn working_directory(subject: &Subject<'_>) -> Result<(Pointer, CString), Invalid> {
    let at = Pointer::to("/process/cwd");
    let cwd = subject.process.cwd();
    if !cwd.is_absolute() {
        return Err(Invalid::new(&at, format!("working directory {:?} is not an absolute path", cwd.display().to_string())));
    }
    let path = c_string(cwd.as_os_str().as_bytes(), &at)?;
    Ok((at, path))
}

/// Into the working directory as root, so that it can be made where it is missing; one that root may not enter is left to the user.
pub(crate) fn early_cwd(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    chdir(plan, subject, true)
}

/// The user's own try, where root was refused (a network file system, say).
pub(crate) fn cwd(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    chdir(plan, subject, false)
}

fn chdir(plan: &mut Plan, subject: &Subject<'_>, early: bool) -> Result<(), Invalid> {
    let (at, path) = working_directory(subject)?;
    plan.part(&at, format!("cannot enter the working directory {}", path.to_string_lossy()));
    // One that is missing is made with the container; `exec` makes nothing in it.
    plan.push(Op::Chdir { path: &path, early, make: early && subject.request.exec.is_none() });
    Ok(())
}

fn environment(subject: &Subject<'_>) -> Result<Vec<CString>, Invalid> {
    let env = subject.process.env().as_deref().unwrap_or_default();
    if subject.request.env.is_empty() {
        return search::environment(env, &Pointer::to("/process/env"));
    }
    search::environment(&[env, subject.request.env].concat(), &Pointer::to("/process/env"))
}

fn arguments<'a>(subject: &'a Subject<'_>) -> &'a [String] {
    subject.process.args().as_deref().unwrap_or_default()
}

/// `HOME`, where the environment has none.
pub(crate) fn home(plan: &mut Plan, subject: &Subject<'_>, at: &Pointer) -> Result<(), Invalid> {
    if environment(subject)?.iter().any(|variable| variable.as_bytes().starts_with(b"HOME=")) {
        return Ok(());
    }
    plan.part(&at.of("env"), "cannot find the user's home");
    plan.push(Op::Home { uid: subject.process.user().uid() });
    Ok(())
}

/// Finds the program, as the user.
pub(crate) fn find(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let at = Pointer::to("/process/args");
    let args = arguments(subject);
    let candidates: Strings = search::candidates(args, &environment(subject)?, &at)?.iter().collect();
    plan.part(&at.of(0), format!("exec: {:?}", args.first().map_or("", String::as_str)));
    plan.push(Op::Find { candidates: candidates.list() });
    Ok(())
}

/// Becomes the program.
pub(crate) fn exec(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let at = Pointer::to("/process/args");
    let (args, env) = (arguments(subject), environment(subject)?);
    let args_list: Strings = search::arguments(args, &at)?.iter().collect();
    let env: Strings = env.iter().collect();
    plan.part(&at.of(0), format!("exec: {:?}", args.first().map_or("", String::as_str)));
    plan.push(Op::Exec { args: args_list.list(), env: env.list() });
    Ok(())
}
