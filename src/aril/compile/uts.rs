//! `hostname` and `domainname`.

use super::Subject;
use super::namespaces::UTS;
use super::plan::Plan;
use crate::config::{Invalid, Pointer};
use aril_plan::Op;

/// `__NEW_UTS_LEN`
const MAX: usize = 64;

/// Names the container.
pub(crate) fn name(plan: &mut Plan, subject: &Subject<'_>) -> Result<(), Invalid> {
    let spec = subject.request.spec;
    let mut set = |key: &str, name: &Option<String>, op: fn(&[u8]) -> Op<'_>| {
        let Some(name) = name.as_deref().filter(|n| !n.is_empty()) else { return Ok(()) };
        let at = Pointer::default().of(key);
        if !subject.namespaces.own(UTS) {
            return Err(Invalid::new(&at, format!("{key} {name:?} needs a uts namespace (/linux/namespaces), or it would be the host's")));
        }
        if name.len() > MAX {
            return Err(Invalid::new(&at, format!("{key} {name:?} is longer than {MAX} bytes")));
        }
        plan.part(&at, format!("cannot set the {key} {name:?}"));
        plan.push(op(name.as_bytes()));
        Ok(())
    };
    set("hostname", spec.hostname(), |name| Op::Hostname { name })?;
    set("domainname", spec.domainname(), |name| Op::Domainname { name })
}
