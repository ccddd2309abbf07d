//! The way to systemd: a connection to the message bus, or to systemd's own socket where there is no bus.
//!
//! Written for what aril needs of D-Bus, since no small and synchronous library gets through the authentication of the case that matters most:
//! Podman without root runs its runtime in a user namespace, where the caller's own user id is not the one that the bus sees. This client leaves
//! the id out (D-Bus specification, "EXTERNAL"), and the bus takes that of the socket's peer. It also sends everything up to the first call that
//! has to be answered in one go.

use super::message::{Call, Heard};
use super::value::Value;
use crate::error::{Doing, Error, Result};
use crate::sys;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long systemd may take for a job: runc gives it as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// Why a call had no success.
#[derive(Debug)]
pub(super) enum Failure {
    /// systemd refused it: the error's name after the last dot, and its text.
    Refused(String, String),
    /// It was not answered.
    Unheard(Error),
    /// The job was queued, and nothing was heard of its end.
    Queued(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Refused(name, text) => Error::Other(format!("systemd refuses: {text} ({name})")),
            Failure::Unheard(error) | Failure::Queued(error) => error,
        }
    }
}

/// A connection to a service manager.
#[derive(Debug)]
pub(super) struct Bus {
    socket: UnixStream,
    /// Whether a message bus is between, which wants to be greeted and to be told which signals are wanted.
    brokered: bool,
    authenticated: bool,
    serial: u32,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    /// The jobs that have ended, and their results.
    ended: VecDeque<(String, String)>,
    deadline: Instant,
}

impl Bus {
    /// Connects to the system's manager, or to this user's.
    ///
    /// # Errors
    /// Nobody listens where the manager should.
    pub(super) fn open(user: bool) -> Result<Bus> {
        let mut first = None;
        for (address, brokered) in addresses(user) {
            match address.connect() {
                Ok(socket) => return Bus::over(socket, brokered),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        let whose = if user { "the user's systemd" } else { "systemd" };
        let nowhere = || Error::Other("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set".to_owned());
        Err(first.map_or_else(nowhere, Into::into)).doing(|| format!("cannot reach {whose} over D-Bus"))
    }

    fn over(socket: UnixStream, brokered: bool) -> Result<Bus> {
        let mut bus = Bus {
            socket,
            brokered,
            authenticated: false,
            serial: 0,
            outbox: b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec(),
            inbox: Vec::new(),
            ended: VecDeque::new(),
            deadline: Instant::now() + PATIENCE,
        };
        if brokered {
            bus.post(&Call { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member: "Hello", arguments: &[] });
        } else {
            // systemd does not look at a message that comes together with the end of the authentication, before more comes.
            bus.send()?;
        }
        Ok(bus)
    }

    /// Has a method of the manager done.
    ///
    /// # Errors
    /// It is refused, or not answered.
    pub(super) fn call(&mut self, member: &str, arguments: &[Value]) -> std::result::Result<Vec<Value>, Failure> {
        self.deadline = Instant::now() + PATIENCE;
        let serial = self.post(&Call { destination: SYSTEMD, path: OBJECT, interface: MANAGER, member, arguments });
        loop {
            match self.hear(member)? {
                Heard::Return(to, values) if to == serial => return Ok(values),
                Heard::Error(to, name, text) if to == serial => {
                    let name = name.rsplit('.').next().unwrap_or_default().to_owned();
                    return Err(Failure::Refused(name, text));
                }
                _ => {}
            }
        }
    }

    /// Has a method done that queues a job for a unit, and waits for the job.
    ///
    /// # Errors
    /// As of [`Bus::call`]; the job ended otherwise than well.
    pub(super) fn job(&mut self, unit: &str, member: &str, arguments: &[Value]) -> std::result::Result<(), Failure> {
        if self.brokered {
            let rule = format!("type='signal',sender='{SYSTEMD}',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved',arg2='{unit}'");
            self.post(&Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member: "AddMatch",
                arguments: &[Value::Str(rule)],
            });
        }
        let job = match self.call(member, arguments)?.into_iter().next() {
            Some(Value::Path(job)) => job,
            _ => return Err(Failure::Unheard(Error::Other(format!("systemd answered {member} with no job")))),
        };
        loop {
            while let Some((ended, result)) = self.ended.pop_front() {
                if ended == job {
                    return if result == "done" {
                        Ok(())
                    } else {
                        Err(Failure::Refused(result, format!("the job for {unit} did not succeed")))
                    };
                }
            }
            self.hear(&format!("the end of its job for {unit}")).map_err(|failure| Failure::Queued(failure.into()))?;
        }
    }

    fn post(&mut self, call: &Call<'_>) -> u32 {
        self.serial += 1;
        self.outbox.extend(call.bytes(self.serial));
        self.serial
    }

    /// The next message.
    fn hear(&mut self, awaited: &str) -> std::result::Result<Heard, Failure> {
        self.next().doing(|| format!("systemd does not answer ({awaited})")).map_err(Failure::Unheard)
    }

    /// Sends what is to be sent.
    fn send(&mut self) -> Result<()> {
        let sent = self.socket.write_all(&self.outbox);
        sent.map_err(|error| sys::Error::bare("write", sys::fs::errno(&error)))?;
        self.outbox.clear();
        while !self.authenticated {
            self.authenticate()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Heard> {
        self.send()?;
        loop {
            if let Some((heard, end)) = Heard::parse(&self.inbox).map_err(|why| Error::Other(why.to_owned()))? {
                self.inbox.drain(..end);
                if let Heard::Signal(name, values) = &heard
                    && let ("JobRemoved", [_, Value::Path(job), _, Value::Str(result)]) = (name.as_str(), values.as_slice())
                {
                    self.ended.push_back((job.clone(), result.clone()));
                }
                return Ok(heard);
            }
            self.fill()?;
        }
    }

    /// Lines, of which `OK` is the last that comes.
    fn authenticate(&mut self) -> Result<()> {
        while let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = self.inbox.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line);
            match line.split([' ', '\r']).next() {
                Some("DATA") => {}
                Some("OK") => {
                    self.authenticated = true;
                    return Ok(());
                }
                _ => return Err(Error::Other(format!("the bus does not let this user in: {}", line.trim()))),
            }
        }
        self.fill()
    }

    fn fill(&mut self) -> Result<()> {
        let failed = |errno| sys::Error::bare("read", errno);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Other(format!("nothing was heard for {} seconds", PATIENCE.as_secs())));
        }
        self.socket.set_read_timeout(Some(left)).map_err(|error| failed(sys::fs::errno(&error)))?;
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => Err(Error::Other("the bus hung up".to_owned())),
            Ok(n) => {
                self.inbox.extend(&buffer[..n]);
                Ok(())
            }
            Err(error) => match sys::fs::errno(&error) {
                // The time is looked at when it comes here again.
                sys::Errno::EAGAIN | sys::Errno::EINTR => Ok(()),
                errno => Err(failed(errno).into()),
            },
        }
    }
}

/// Where a socket is.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Path(PathBuf),
    Abstract(String),
}

impl Address {
    fn connect(&self) -> sys::Result<UnixStream> {
        let (socket, name) = match self {
            Address::Path(path) => (UnixStream::connect(path), path.as_path()),
            Address::Abstract(name) => {
                (SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address)), Path::new(name))
            }
        };
        socket.map_err(|error| sys::Error::new("connect", name, sys::fs::errno(&error)))
    }
}

/// Where a manager may be reached, and whether by way of a bus; the best first.
fn addresses(user: bool) -> Vec<(Address, bool)> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (bus, runtime) = if user {
        (var("DBUS_SESSION_BUS_ADDRESS"), var("XDG_RUNTIME_DIR"))
    } else {
        (var("DBUS_SYSTEM_BUS_ADDRESS"), Some("/run".to_owned()))
    };
    let mut found: Vec<(Address, bool)> = bus.iter().flat_map(|text| parse(text)).map(|address| (address, true)).collect();
    if let Some(runtime) = runtime {
        let bus = if user { "bus" } else { "dbus/system_bus_socket" };
        found.push((Address::Path(Path::new(&runtime).join(bus)), true));
        found.push((Address::Path(Path::new(&runtime).join("systemd/private")), false));
    }
    found
}

/// `unix:path=/run/bus,guid=…;unix:abstract=…` (D-Bus specification, "Server Addresses")
fn parse(text: &str) -> Vec<Address> {
    let one = |address: &str| {
        let keys = address.strip_prefix("unix:")?.split(',');
        keys.filter_map(|key| key.split_once('=')).find_map(|(key, value)| match key {
            "path" => Some(Address::Path(unescape(value).into())),
            "abstract" => Some(Address::Abstract(unescape(value))),
            _ => None,
        })
    };
    text.split(';').filter_map(one).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match after.get(..2).filter(|_| *first == b'%').and_then(escaped) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::message::{MEMBER, REPLY_SERIAL, encode};
    use super::*;

    #[test]
    fn addresses_of_the_environment() {
        let found = parse("unix:path=/run/user/1000/bus,guid=00;tcp:host=x;unix:abstract=/tmp/dbus%2da;unix:path=/a%20b%");
        let path = |path: &str| Address::Path(path.into());
        assert_eq!(found, [path("/run/user/1000/bus"), Address::Abstract("/tmp/dbus-a".to_owned()), path("/a b%")]);
    }

    /// A bus on which this has been answered, and its other end.
    fn answered(replies: &[u8]) -> (Result<Bus>, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.write_all(replies).expect("a reply");
        (Bus::over(ours, false), theirs)
    }

    #[test]
    fn systemd_itself_gets_no_message_together_with_the_authentication() {
        let (bus, mut theirs) = answered(b"DATA\r\nOK 0123\r\n");
        let mut bus = bus.expect("it is let in");
        theirs.set_nonblocking(true).expect("a socket");
        let mut heard = [0; 4096];
        let n = theirs.read(&mut heard).expect("the authentication");
        assert!(heard[..n].ends_with(b"BEGIN\r\n"));
        drop(theirs.shutdown(std::net::Shutdown::Write));
        bus.call("X", &[]).expect_err("nobody answers");
        let n = theirs.read(&mut heard).expect("the message");
        assert!(heard[..n].starts_with(b"l\x01"));
    }

    #[test]
    fn a_refused_authentication_is_told() {
        let error = answered(b"REJECTED EXTERNAL\r\n").0.expect_err("no").chain();
        assert!(error.contains("does not let this user in: REJECTED EXTERNAL"), "{error}");
    }

    #[test]
    fn a_job_that_ends_before_its_answer_is_not_missed() {
        let ended = |result: &str| [Value::U32(1), Value::Path("/job/1".to_owned()), Value::str("x.scope"), Value::str(result)];
        for (result, good) in [("done", true), ("failed", false)] {
            let mut replies = b"DATA\r\nOK 0123\r\n".to_vec();
            replies.extend(encode(4, 7, vec![(MEMBER, Value::str("JobRemoved"))], &ended(result)));
            replies.extend(encode(2, 8, vec![(REPLY_SERIAL, Value::U32(1))], &[Value::Path("/job/1".to_owned())]));
            let (bus, _theirs) = answered(&replies);
            let answer = bus.expect("it is let in").job("x.scope", "StopUnit", &[]);
            assert_eq!(answer.is_ok(), good, "{answer:?}");
        }
    }
}
