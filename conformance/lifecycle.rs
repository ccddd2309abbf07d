//! runtime.md: the operations and the life cycle.

use crate::support::*;

pub const TESTS: &[Test] = suite![create_then_start_then_delete];

fn create_then_start_then_delete(t: &Case) {
    let b = t.bundle_sh("echo hello");
    let c = t.create(&b);
    assert_eq!(c.status(), "created");
    c.start();
    c.wait_for("stopped");
    c.delete();
    assert!(!c.known());
}
