//! `terminal` and `consoleSize`.

use crate::compile::Subject;
use crate::compile::plan::Plan;
use crate::config::{Invalid, Pointer};
use aril_plan::{Op, Slot};

/// Gives the process a terminal of the container's own devpts.
pub(crate) fn console(plan: &mut Plan, subject: &Subject<'_>, root: Slot) -> Result<(), Invalid> {
    if !subject.process.terminal().unwrap_or(false) {
        return Ok(());
    }
    let at = Pointer::to("/process/consoleSize");
    let side = |key: &str, cells: u64| {
        u16::try_from(cells).map_err(|_| Invalid::new(&at.of(key), format!("{cells} is more than a terminal can have (65535)")))
    };
    let (rows, columns) = match subject.process.console_size() {
        Some(size) => (side("height", size.height())?, side("width", size.width())?),
        None => (0, 0),
    };
    plan.part(&Pointer::to("/process/terminal"), "cannot make the terminal");
    let uid = subject.process.user().uid();
    plan.push(Op::Console { root, rows, columns, uid, bind: subject.request.exec.is_none() && subject.mounts() });
    Ok(())
}
