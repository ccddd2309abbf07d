//! A container that was created, and is removed when this goes out of scope.

use super::{Bundle, Call, Case, Output, Value, eventually};

pub struct Container<'a> {
    pub case: &'a Case,
    pub id: String,
}

impl<'a> Container<'a> {
    pub fn new(case: &'a Case, id: impl Into<String>) -> Self {
        Self { case, id: id.into() }
    }

    /// A call of `verb` on this container, with options before its id and words after it.
    pub fn call(&self, verb: &str, options: &[&str], rest: &[&str]) -> Call<'a> {
        let words = [&[verb], options, &[self.id.as_str()], rest].concat();
        Call::new(self.case, words)
    }

    #[track_caller]
    pub fn start(&self) -> &Self {
        self.call("start", &[], &[]).run().ok();
        self
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        self.call("state", &[], &[]).run().json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        let state = self.state();
        let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.filter(|pid| *pid > 0).unwrap_or_else(|| panic!("no pid in {state}"))
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> &Self {
        self.call("kill", &[], &[signal]).run().ok();
        self
    }

    #[track_caller]
    pub fn delete(&self) {
        self.call("delete", &[], &[]).run().ok();
    }

    #[track_caller]
    pub fn delete_force(&self) -> Output {
        self.call("delete", &["--force"], &[]).run()
    }

    /// Waits until `state` says `status`.
    #[track_caller]
    pub fn wait_for(&self, status: &str) -> &Self {
        eventually(&format!("{} is {status}", self.id), || (self.status() == status).then_some(()));
        self
    }

    /// Whether the runtime knows the container.
    pub fn known(&self) -> bool {
        self.call("state", &[], &[]).run().code() == 0
    }

    /// The cgroup's path from the root of the tree, as the bundle of the case names it.
    pub fn of(case: &'a Case, bundle: &Bundle) -> Self {
        Self::new(case, bundle.id())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // What this leaves behind, the check at the end of the case reports.
        let deleted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.delete_force()));
        if deleted.is_err() {
            eprintln!("delete --force {} hung", self.id);
        }
    }
}
