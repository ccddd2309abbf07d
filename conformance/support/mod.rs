//! What the tests share: a bundle to edit, the runtime under test, a container that is removed when it goes
//! out of scope, the facts of this machine, and the check that nothing is left.

pub mod bundle;
pub mod case;
pub mod container;
pub mod environment;
pub mod expected;
pub mod leftovers;
pub mod registry;
pub mod runtime;
pub mod socket;
pub mod without;

pub use bundle::Bundle;
pub use case::Case;
pub use container::Container;
pub use environment::Need;
pub use registry::Test;
pub(crate) use registry::suite;
pub use runtime::{Call, Output};
pub use serde_json::{Value, json};

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The longest that any single call of a runtime, or any wait for its effect, may take.
/// It is never waited for but where something hangs. A minute, times the environment variable `TIME_FACTOR` on a machine that is known to be slow.
pub fn patience() -> Duration {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| match std::env::var("TIME_FACTOR") {
        Ok(text) => text.parse().expect("TIME_FACTOR is no number"),
        Err(_) => 1,
    });
    Duration::from_secs(60) * *FACTOR
}

/// Asks `probe` again and again until it answers, and panics with `what` when it has not within [`patience`].
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < patience(), "waited {:?} in vain: {what}", patience());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The file's text; panics with the path when it cannot be read.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))).into_owned()
}

/// Writes the file; panics with the path when it cannot.
pub fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    let path = path.as_ref();
    std::fs::write(path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
}

/// Whether something stands at `path`, a dangling symbolic link included.
pub fn present(path: impl AsRef<Path>) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// A line of shell that prints "own" where sysfs shows the interfaces that procfs shows. (Modules of tunnels put more than `lo` into each namespace.)
pub const SYSFS_SHOWS_THE_OWN_NETWORK: &str =
    r#"[ "$(echo $(ls /sys/class/net))" = "$(echo $(tail -n +3 /proc/net/dev | cut -d: -f1 | sort))" ] && echo own"#;

/// `haystack` contains `needle`, or a panic that shows both.
#[track_caller]
pub fn assert_has(haystack: &str, needle: &str) {
    assert!(haystack.contains(needle), "{needle:?} is not in:\n{haystack}");
}

/// `haystack` does not contain `needle`, or a panic that shows both.
#[track_caller]
pub fn assert_lacks(haystack: &str, needle: &str) {
    assert!(!haystack.contains(needle), "{needle:?} is in:\n{haystack}");
}

/// The value of `key` in text of the form of /proc/PID/status.
#[track_caller]
pub fn field<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or_else(|| panic!("no {key} in:\n{text}")).trim()
}
