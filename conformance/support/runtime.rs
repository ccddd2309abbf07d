//! Calling the runtime under test: arguments in, exit status and text out, and never longer than [`patience`].

use super::{Case, Value, patience};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a call came to.
#[derive(Debug)]
pub struct Output {
    pub what: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit status as a shell would show it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output of a call that ended well.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code(), 0, "{} failed:\n{}{}", self.what, self.stdout, self.stderr);
        &self.stdout
    }

    /// Standard error of a call that was refused, and said why.
    #[track_caller]
    pub fn refused(&self) -> &str {
        assert_ne!(self.code(), 0, "{} was not refused:\n{}{}", self.what, self.stdout, self.stderr);
        assert!(!self.stderr.trim().is_empty(), "{} failed without a word", self.what);
        &self.stderr
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.ok();
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{}: no JSON ({e}):\n{text}", self.what))
    }
}

/// A call to be made; global options come before the command.
pub struct Call<'a> {
    case: &'a Case,
    root: bool,
    globals: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    shell: Option<String>,
    cwd: Option<PathBuf>,
    user: Option<u32>,
    runtime: PathBuf,
}

impl<'a> Call<'a> {
    pub fn new<S: Into<String>>(case: &'a Case, args: impl IntoIterator<Item = S>) -> Self {
        Self {
            case,
            root: true,
            globals: Vec::new(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            stdin: Vec::new(),
            shell: None,
            cwd: None,
            user: None,
            runtime: case.environment.runtime.clone(),
        }
    }

    /// Options that stand before the command, after `--root`.
    pub fn globals<S: Into<String>>(mut self, globals: impl IntoIterator<Item = S>) -> Self {
        self.globals.extend(globals.into_iter().map(Into::into));
        self
    }

    /// Leaves `--root` out.
    pub fn without_root(mut self) -> Self {
        self.root = false;
        self
    }

    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Bytes for standard input, which is /dev/null otherwise.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// Runs the call from a shell script in which `"$@"` stands for it: for descriptors, limits and masks that a caller may hand over.
    pub fn shell(mut self, script: impl Into<String>) -> Self {
        self.shell = Some(script.into());
        self
    }

    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Runs the call as this user and group.
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Another binary than the runtime under test: to leave something of another runtime, or to start a copy.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.runtime = path.into();
        self
    }

    /// Starts the call without waiting, with the streams as given.
    pub fn spawn(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Child {
        let mut argv = self.case.without().map(|switch| switch.launcher(self.case)).unwrap_or_default();
        argv.push(self.runtime.display().to_string());
        if self.root {
            argv.extend(["--root".to_owned(), self.case.state_root().display().to_string()]);
        }
        argv.extend(self.globals.iter().chain(&self.args).cloned());
        let mut command = match &self.shell {
            Some(script) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script, "sh"]).args(&argv);
                command
            }
            None => {
                let mut command = Command::new(&argv[0]);
                command.args(&argv[1..]);
                command
            }
        };
        command.env_remove("RUNTIME").env(super::leftovers::MARK, self.case.dir());
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap_or_else(|e| panic!("{}: {e}", self.what()))
    }

    /// Begins the call, with nothing to read and nowhere to write: for one that tells others what it has to say.
    #[track_caller]
    pub fn begin(&self) -> Child {
        self.spawn(Stdio::null(), Stdio::null(), Stdio::null())
    }

    /// Makes the call. Output goes through files: what a container still holds open cannot keep the test waiting.
    #[track_caller]
    pub fn run(&self) -> Output {
        let (mut stdout, mut stderr) = (self.case.scratch(), self.case.scratch());
        let stdin = if self.stdin.is_empty() {
            Stdio::null()
        } else {
            let mut file = self.case.scratch();
            file.write_all(&self.stdin).and_then(|()| file.seek(SeekFrom::Start(0))).expect("standard input");
            file.into()
        };
        let clone = |file: &File| Stdio::from(file.try_clone().expect("dup"));
        let mut child = self.spawn(stdin, clone(&stdout), clone(&stderr));
        let status = wait(&mut child, patience());
        let text = |file: &mut File| {
            let mut bytes = Vec::new();
            // Bounded, lest a container that writes without end fill the memory too.
            file.seek(SeekFrom::Start(0)).and_then(|_| file.take(16 << 20).read_to_end(&mut bytes)).expect("captured output");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(&mut stdout), text(&mut stderr));
        let status = status.unwrap_or_else(|| panic!("{} did not end within {:?}:\n{stdout}{stderr}", self.what(), patience()));
        Output { what: self.what(), status, stdout, stderr }
    }

    fn what(&self) -> String {
        let name = self.runtime.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words: Vec<_> = self.globals.iter().chain(&self.args).map(String::as_str).collect();
        format!("{name} {}", words.join(" "))
    }
}

/// Waits for the end of `child`; one that outlives the time is killed, and `None`.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return Some(status);
        }
        if start.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
