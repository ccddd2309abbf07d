//! The program, its arguments and its environment as the bytes that `execve(2)` takes.

use crate::config::{Invalid, Pointer};
use std::ffi::CString;

/// Where programs are looked for if the environment has no `PATH`, as `execvp(3)` has it.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// The places where the program may be, in the order of the search. A relative one is relative to the working directory.
///
/// A name with a slash is a path already; any other is looked for in the container's own `PATH`, where an empty entry is the working
/// directory.
///
/// # Errors
/// `args` (which stands at the pointer) is empty, its first item is, or holds a NUL.
pub fn candidates(args: &[String], env: &[CString], at: &Pointer) -> Result<Vec<CString>, Invalid> {
    let program = args.first().ok_or_else(|| Invalid::new(at, "args must not be empty: there is no program to run"))?;
    let at = at.of(0);
    if program.is_empty() {
        return Err(Invalid::new(&at, "executable path is empty"));
    }
    let bytes = |path: String| CString::new(path).map_err(|_| Invalid::new(&at, format!("{program:?} holds a NUL")));
    if program.contains('/') {
        return Ok(vec![bytes(program.clone())?]);
    }
    let path = env.iter().find_map(|variable| variable.to_str().ok()?.strip_prefix("PATH=")).unwrap_or(PATH_DEFAULT);
    path.split(':').map(|directory| bytes(if directory.is_empty() { program.clone() } else { format!("{directory}/{program}") })).collect()
}

/// The environment. Of a variable that is given twice the last one holds.
///
/// # Errors
/// A variable (they stand at the pointer) has no name, no `=`, or holds a NUL.
pub fn environment(env: &[String], at: &Pointer) -> Result<Vec<CString>, Invalid> {
    let mut resolved: Vec<CString> = Vec::with_capacity(env.len());
    // The names, hashed: environments of ten thousand variables exist (one per Kubernetes service and port).
    let mut seen = std::collections::HashSet::with_capacity(env.len());
    for (i, variable) in env.iter().enumerate().rev() {
        let wrong = |why: &str| Invalid::new(&at.of(i), format!("environment variable {variable:?} {why}"));
        match variable.split_once('=') {
            None => return Err(wrong("has no \"=\"")),
            Some(("", _)) => return Err(wrong("has no name")),
            Some((name, _)) if !seen.insert(name) => {}
            Some(_) => resolved.push(CString::new(variable.as_str()).map_err(|_| wrong("holds a NUL"))?),
        }
    }
    resolved.reverse();
    Ok(resolved)
}

/// The arguments.
///
/// # Errors
/// One of them (they stand at the pointer) holds a NUL.
pub fn arguments(args: &[String], at: &Pointer) -> Result<Vec<CString>, Invalid> {
    let one = |(i, arg): (usize, &String)| {
        CString::new(arg.as_str()).map_err(|_| Invalid::new(&at.of(i), format!("argument {arg:?} holds a NUL")))
    };
    args.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn found(program: &str, env: &[&str]) -> Result<Vec<String>, Invalid> {
        let env = environment(&strings(env), &Pointer::to("/process/env"))?;
        let candidates = candidates(&strings(&[program, "x"]), &env, &Pointer::to("/process/args"))?;
        Ok(candidates.into_iter().map(|c| c.into_string().expect("paths here are UTF-8")).collect())
    }

    #[test]
    fn a_path_is_not_looked_for() {
        assert_eq!(found("/bin/sh", &["PATH=/usr/bin"]).expect("the path is valid"), ["/bin/sh"]);
        assert_eq!(found("./run", &["PATH=/usr/bin"]).expect("the path is valid"), ["./run"]);
        assert_eq!(found("bin/sh", &["PATH=/usr/bin"]).expect("the path is valid"), ["bin/sh"]);
    }

    #[test]
    fn a_name_is_looked_for_in_the_containers_path() {
        assert_eq!(found("sh", &["A=1", "PATH=/usr/bin:/bin:rel:"]).expect("valid"), ["/usr/bin/sh", "/bin/sh", "rel/sh", "sh"]);
        assert_eq!(found("sh", &["PATH=/one", "PATH=/two"]).expect("valid"), ["/two/sh"]);
        assert_eq!(found("sh", &["XPATH=/one"]).expect("valid"), ["/bin/sh", "/usr/bin/sh"]);
    }

    #[test]
    fn nothing_to_run_is_an_error_that_managers_know() {
        assert_eq!(candidates(&[], &[], &Pointer::to("/process/args")).expect_err("no args").at.as_str(), "/process/args");
        assert_eq!(found("", &[]).expect_err("an empty name").to_string(), "executable path is empty (/process/args/0)");
        assert_eq!(found("a\0", &[]).expect_err("a NUL").at.as_str(), "/process/args/0");
    }

    #[test]
    fn the_last_of_two_variables_holds_in_its_place() {
        let env = environment(&strings(&["A=1", "B=2", "A=3=4", "C="]), &Pointer::default()).expect("the environment is valid");
        assert_eq!(env, [c"B=2".to_owned(), c"A=3=4".to_owned(), c"C=".to_owned()]);
    }

    #[test]
    fn what_is_no_variable_is_refused_with_its_place() {
        for (variable, why) in [("A", "no \"=\""), ("=1", "no name"), ("A=\0", "NUL"), ("", "no \"=\"")] {
            let error = environment(&strings(&["OK=1", variable]), &Pointer::to("/process/env")).expect_err(why);
            assert_eq!(error.at.as_str(), "/process/env/1");
            assert!(error.why.contains(why), "{error}");
        }
    }

    #[test]
    fn arguments_are_bytes() {
        assert_eq!(arguments(&strings(&["a", ""]), &Pointer::default()).expect("valid"), [c"a".to_owned(), c"".to_owned()]);
        assert_eq!(arguments(&strings(&["a", "\0"]), &Pointer::to("/process/args")).expect_err("a NUL").at.as_str(), "/process/args/1");
    }
}
