//! A connection of HTTP/2 by hand, for clients that do not behave.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The kinds of frames that tests need.
pub const DATA: u8 = 0;
/// A request, or the head of an answer.
pub const HEADERS: u8 = 1;
/// The end of a stream by force.
pub const RST_STREAM: u8 = 3;
/// What a side expects of the other.
pub const SETTINGS: u8 = 4;
/// A question for a sign of life.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// The flag of a header block that is whole.
pub const END_HEADERS: u8 = 4;
/// The flag of the last frame of a side.
pub const END_STREAM: u8 = 1;
/// The flag of an answer to SETTINGS or PING.
pub const ACK: u8 = 1;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// What may be sent before a server says anything.
const DEFAULT_WINDOW_BYTES: i64 = 65_535;
/// The setting that says how much may be sent on a new stream.
const INITIAL_WINDOW: u16 = 4;
/// Bytes in a frame of data.
const PIECE_BYTES: usize = 16_000;
/// How long a client waits until it may send more.
const STUCK_AFTER: Duration = Duration::from_millis(300);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without flags.
    pub fn new(kind: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags: 0, stream, payload: payload.to_vec() }
    }

    /// The head of a call of gRPC; nothing says that the call ends.
    ///
    /// # Panics
    /// If the path is too long for one byte of length.
    pub fn call(stream: u32, path: &str) -> Self {
        let text = |text: &str| {
            let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
            [&[length.expect("a short text")], text.as_bytes()].concat()
        };
        // Method POST, scheme http, then literals whose names have a number or stand here (RFC 7541).
        let payload = [
            vec![0x83, 0x86, 0x04],
            text(path),
            vec![0x01],
            text("127.0.0.1"),
            vec![0x0f, 0x10],
            text("application/grpc"),
            vec![0x00],
            text("te"),
            text("trailers"),
        ];
        Self { kind: HEADERS, flags: END_HEADERS, stream, payload: payload.concat() }
    }

    /// The bytes of the frame.
    ///
    /// # Panics
    /// If the payload does not fit.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a payload fits").to_be_bytes();
        let head = [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes()].concat();
        [head, self.payload.clone()].concat()
    }
}

/// A connection whose frames are sent and read one by one.
#[derive(Debug)]
pub struct RawConnection {
    /// The socket.
    pub stream: TcpStream,
}

impl RawConnection {
    /// Connects and says no more than a client must.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn open(url: &str) -> Self {
        let mut connection = Self::silent(url);
        connection.stream.write_all(PREFACE).expect("a few bytes fit");
        connection.send(&Frame::new(SETTINGS, 0, &[])).expect("a few bytes fit");
        connection
    }

    /// Connects and says nothing.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn silent(url: &str) -> Self {
        let host = url.strip_prefix("http://").expect("a plain URL");
        let stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{host}: {error}"));
        stream.set_nodelay(true).expect("an option of every socket");
        Self { stream }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the connection is gone, or takes nothing within its time.
    pub fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.stream.write_all(&frame.bytes())
    }

    /// Reads the next frame, if one comes in time; none at the end of the connection.
    ///
    /// # Errors
    /// If none comes in time, or the connection breaks.
    pub fn next(&mut self, within: Duration) -> io::Result<Option<Frame>> {
        self.stream.set_read_timeout(Some(within))?;
        let mut head = [0; FRAME_HEAD_BYTES];
        match self.stream.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }))
    }
}

/// A client that begins calls, sends parts of their messages as far as the server lets it, and reads
/// no answers.
#[derive(Debug)]
pub struct UnfinishedCalls {
    connection: RawConnection,
    windows: Arc<Mutex<Windows>>,
    calls: u32,
}

/// What the server lets a client send.
#[derive(Debug, Default)]
struct Windows {
    connection: i64,
    initial: i64,
    /// Of the calls that go on.
    streams: BTreeMap<u32, i64>,
    refused: usize,
    is_over: bool,
}

/// What became of a part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Whole,
    /// The server has answered the call.
    Refused,
    /// The server takes no more for now.
    Stuck,
    /// The connection has ended.
    Gone,
}

impl UnfinishedCalls {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn open(url: &str) -> Self {
        let connection = RawConnection::open(url);
        let mut reader = RawConnection { stream: connection.stream.try_clone().expect("a socket") };
        let windows = Arc::new(Mutex::new(Windows {
            connection: DEFAULT_WINDOW_BYTES,
            initial: DEFAULT_WINDOW_BYTES,
            ..Windows::default()
        }));
        let shared = Arc::clone(&windows);
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = reader.next(Duration::from_secs(600)) {
                shared.lock().expect("no panic").take(&frame);
            }
            shared.lock().expect("no panic").is_over = true;
        });
        let mut calls = Self { connection, windows, calls: 0 };
        // What the server expects holds from when the client has taken note of it.
        while calls.windows.lock().expect("no panic").initial == DEFAULT_WINDOW_BYTES {
            std::thread::sleep(Duration::from_millis(1));
        }
        calls.connection.send(&Frame { flags: ACK, ..Frame::new(SETTINGS, 0, &[]) }).ok();
        calls
    }

    /// Begins a call and sends the head of a message, and as much of it as there is.
    pub fn begin(&mut self, path: &str, message_bytes: u32, part: &[u8]) -> Sent {
        let stream = self.calls * 2 + 1;
        self.calls += 1;
        let mut windows = self.windows.lock().expect("no panic");
        let initial = windows.initial;
        windows.streams.insert(stream, initial);
        drop(windows);
        if self.connection.send(&Frame::call(stream, path)).is_err() {
            return Sent::Gone;
        }
        let prefix = [&[0][..], &message_bytes.to_be_bytes()].concat();
        for piece in std::iter::once(prefix.as_slice()).chain(part.chunks(PIECE_BYTES)) {
            match self.send_piece(stream, piece) {
                Sent::Whole => {}
                other => return other,
            }
        }
        Sent::Whole
    }

    /// How many calls the server has answered.
    ///
    /// # Panics
    /// If the thread that reads has.
    pub fn refused(&self) -> usize {
        self.windows.lock().expect("no panic").refused
    }

    fn send_piece(&mut self, stream: u32, piece: &[u8]) -> Sent {
        let wanted = i64::try_from(piece.len()).expect("a piece is small");
        let begun = Instant::now();
        loop {
            let mut windows = self.windows.lock().expect("no panic");
            if windows.is_over {
                return Sent::Gone;
            }
            let room = windows.connection;
            let Some(window) = windows.streams.get_mut(&stream) else { return Sent::Refused };
            if *window >= wanted && room >= wanted {
                *window -= wanted;
                windows.connection -= wanted;
                break;
            }
            drop(windows);
            if begun.elapsed() > STUCK_AFTER {
                return Sent::Stuck;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = self.connection.send(&Frame::new(DATA, stream, piece));
        if sent.is_ok() { Sent::Whole } else { Sent::Gone }
    }
}

impl Drop for UnfinishedCalls {
    fn drop(&mut self) {
        // The thread that reads has the socket, too. It may have ended already.
        self.connection.stream.shutdown(Shutdown::Both).ok();
    }
}

impl Windows {
    fn take(&mut self, frame: &Frame) {
        match frame.kind {
            HEADERS | RST_STREAM => {
                self.refused += usize::from(self.streams.remove(&frame.stream).is_some());
            }
            SETTINGS => {
                for setting in frame.payload.chunks_exact(6) {
                    let [high, low, value @ ..] = setting else { continue };
                    let value = value.first_chunk::<4>().map_or(0, |it| u32::from_be_bytes(*it));
                    if u16::from_be_bytes([*high, *low]) == INITIAL_WINDOW {
                        let more = i64::from(value) - self.initial;
                        self.initial += more;
                        self.streams.values_mut().for_each(|window| *window += more);
                    }
                }
            }
            WINDOW_UPDATE => {
                let more = frame.payload.first_chunk::<4>();
                let more = more.map_or(0, |it| i64::from(u32::from_be_bytes(*it)));
                match self.streams.get_mut(&frame.stream) {
                    Some(window) => *window += more,
                    None if frame.stream == 0 => self.connection += more,
                    None => {}
                }
            }
            _ => {}
        }
    }
}
