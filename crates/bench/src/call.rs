//! One unary call over a blocking socket, for what a comparison asks servers around a load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use prost::Message;

use crate::Error;
use crate::http2::connection::{Answer, Connection, MESSAGE_PREFIX, Outcome};

/// Calls the method at `path` and returns its response, within `timeout`.
pub fn call<R: Message + Default>(
    endpoint: SocketAddr,
    path: &str,
    request: &impl Message,
    timeout: Duration,
) -> Result<R, Error> {
    let answer = exchange(endpoint, path, request, Instant::now() + timeout)
        .map_err(|cause| Error::io(format!("{endpoint}{path}"), cause))?;
    if answer.outcome != Outcome::Ok {
        return Err(Error::Server(format!("{endpoint}{path}: {:?}", answer.outcome)));
    }
    let message = answer.body.get(MESSAGE_PREFIX..).unwrap_or_default();
    R::decode(message).map_err(|error| Error::Server(format!("{endpoint}{path}: {error}")))
}

fn exchange(
    endpoint: SocketAddr,
    path: &str,
    request: &impl Message,
    deadline: Instant,
) -> std::io::Result<Answer> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(std::io::ErrorKind::TimedOut) } else { Ok(left) }
    };
    let mut socket = TcpStream::connect_timeout(&endpoint, left()?)?;
    socket.set_nodelay(true)?;
    let mut connection = Connection::new(&endpoint.to_string(), path, true);
    let mut message = vec![0; MESSAGE_PREFIX];
    request.encode(&mut message).map_err(std::io::Error::other)?;
    let length = u32::try_from(message.len() - MESSAGE_PREFIX).map_err(std::io::Error::other)?;
    message[1..MESSAGE_PREFIX].copy_from_slice(&length.to_be_bytes());
    let mut buffer = vec![0; 1 << 16];
    let mut answers = Vec::new();
    let mut is_started = false;
    loop {
        socket.set_write_timeout(Some(left()?))?;
        socket.write_all(connection.output())?;
        connection.advance_output(connection.output().len());
        socket.set_read_timeout(Some(left()?))?;
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let received = connection.receive(&buffer[..count], 0, &mut answers);
        received.map_err(std::io::Error::other)?;
        if let Some(answer) = answers.pop() {
            return Ok(answer);
        }
        if !is_started && connection.can_start() {
            connection.start(&message, 0);
            is_started = true;
        }
    }
}
