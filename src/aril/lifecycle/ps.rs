//! `ps`

use super::store::Store;
use super::{Global, Id, members};
use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::sys;
use std::ffi::OsString;
use std::process::Command;

/// The processes of a container, those in cgroups below its own among them, as the host numbers them. A container that has stopped has none.
///
/// # Errors
/// There is no such container, or its cgroup cannot be read.
pub fn pids(global: &Global, id: &Id) -> Result<Vec<i32>> {
    let failed = || format!("cannot list the processes of {id}");
    let store = Store::open(global, id)?;
    let Some(record) = store.read()? else {
        return store.by_mark()?.map_or(Ok(Vec::new()), |cgroup| cgroup.processes()).doing(failed);
    };
    if record.of_another_boot()? {
        return Ok(Vec::new());
    }
    match Cgroup::open(&record.intent.place)? {
        Some(cgroup) => cgroup.processes().doing(failed),
        None => {
            let first = record.process()?.map(|(_, created)| created.process.pid);
            Ok(first.map(|first| members::of(first, record.intent.own_pid_namespace)).unwrap_or_default().into_iter().collect())
        }
    }
}

/// The lines of the host's `ps(1)` about these processes, with its head.
///
/// # Errors
/// `ps(1)` cannot be run or fails; none of its columns is PID.
pub fn table(pids: &[i32], options: &[OsString]) -> Result<String> {
    let failed = || "cannot run ps".to_owned();
    let default = [OsString::from("-ef")];
    let options = if options.is_empty() { &default } else { options };
    let output = sys::program::output(Command::new("ps").args(options)).doing(failed)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
        return Err(Error::Other(format!("{}: {words}", output.status))).doing(failed);
    }
    select(&String::from_utf8_lossy(&output.stdout), pids)
        .ok_or_else(|| Error::Other("the table that ps prints has no column PID: its options have to ask for one".to_owned()))
}

/// The head, and the lines whose column PID names one of these.
fn select(text: &str, pids: &[i32]) -> Option<String> {
    let mut lines = text.lines();
    let head = lines.next()?;
    let column = words(head).position(|(_, name)| name == "PID")?;
    let (end, _) = words(head).nth(column)?;
    let is_ours = |line: &&str| {
        // Numbers stand right-aligned below their title. What is left of it may have blanks of its own, and what is too long shifts the line.
        let aligned = words(line).find(|(at, word)| *at == end && word.parse::<i32>().is_ok());
        let pid = aligned.or_else(|| words(line).nth(column)).and_then(|(_, pid)| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Some(std::iter::once(head).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

/// The words of a line, each with the byte that it ends before.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_whitespace().map(|word| (word.as_ptr().addr() - line.as_ptr().addr() + word.len(), word))
}

#[cfg(test)]
mod tests {
    use super::select;

    const TABLE: &str = "\
UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 08:00 ?        00:00:01 /sbin/init 42
root          42       1  0 08:00 ?        00:00:00 sleep 7
root           7      42  0 08:00 ?        00:00:00 sh
";

    #[test]
    fn lines_are_chosen_by_the_column_of_the_head() {
        let text = select(TABLE, &[42, 7]).expect("a table");
        assert_eq!(text.lines().map(|line| line.rsplit(' ').next().unwrap_or_default()).collect::<Vec<_>>(), ["CMD", "7", "sh"]);
        assert_eq!(select(TABLE, &[]).as_deref().map(str::lines).map(Iterator::count), Some(1));
        let beside =
            "COMMAND                         PID S\nsleep 7                          42 S\nsh                                7 S\n";
        assert_eq!(select(beside, &[42]).as_deref().and_then(|text| text.lines().nth(1)), beside.lines().nth(1));
        let shifted = "USER   PID CMD\na-long-name   42 sh\n";
        assert_eq!(select(shifted, &[42]).as_deref(), Some(shifted));
        assert_eq!(select("  PID CMD\n    7 a b\n", &[7]).as_deref(), Some("  PID CMD\n    7 a b\n"));
        assert_eq!(select("CMD\nsh\n", &[7]), None);
        assert_eq!(select("", &[7]), None);
    }
}
