//! Lines for people and shell scripts.

use quoin_api::etcdserverpb as pb;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::mvccpb::KeyValue;

use super::{Output, Printer, alarm_name, event_name};
use crate::command::endpoint::Health;
use crate::exit::Exit;
use crate::{number, text};

fn pair(printer: &Printer, output: Output<'_>, pair: &KeyValue) -> Result<(), Exit> {
    let mut bytes_line = |bytes: &[u8]| {
        if printer.hex {
            output.write_all(text::hex_escape(bytes).as_bytes())?;
        } else {
            output.write_all(bytes)?;
        }
        output.write_all(b"\n")
    };
    if !printer.value_only {
        bytes_line(&pair.key)?;
    }
    Ok(bytes_line(&pair.value)?)
}

pub(super) fn get(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::RangeResponse,
) -> Result<(), Exit> {
    r.kvs.iter().try_for_each(|kv| pair(printer, output, kv))
}

pub(super) fn put(printer: &Printer, output: Output<'_>, r: &pb::PutResponse) -> Result<(), Exit> {
    output.write_all(b"OK\n")?;
    r.prev_kv.iter().try_for_each(|kv| pair(printer, output, kv))
}

pub(super) fn del(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::DeleteRangeResponse,
) -> Result<(), Exit> {
    writeln!(output, "{}", r.deleted)?;
    r.prev_kvs.iter().try_for_each(|kv| pair(printer, output, kv))
}

pub(super) fn txn(printer: &Printer, output: Output<'_>, r: &pb::TxnResponse) -> Result<(), Exit> {
    output.write_all(if r.succeeded { b"SUCCESS\n" } else { b"FAILURE\n" })?;
    for op in &r.responses {
        output.write_all(b"\n")?;
        match &op.response {
            Some(Response::ResponseRange(response)) => get(printer, output, response)?,
            Some(Response::ResponsePut(response)) => put(printer, output, response)?,
            Some(Response::ResponseDeleteRange(response)) => del(printer, output, response)?,
            // The language of transactions has nothing that is answered in this way.
            Some(Response::ResponseTxn(_)) | None => writeln!(output, "unexpected response")?,
        }
    }
    Ok(())
}

pub(super) fn watch(
    printer: &Printer,
    output: Output<'_>,
    r: &pb::WatchResponse,
) -> Result<(), Exit> {
    for event in &r.events {
        writeln!(output, "{}", event_name(event))?;
        event.prev_kv.iter().try_for_each(|kv| pair(printer, output, kv))?;
        // A deletion has an empty value, which is a line too.
        pair(printer, output, &event.kv.clone().unwrap_or_default())?;
    }
    Ok(())
}

pub(super) fn time_to_live(
    output: Output<'_>,
    r: &pb::LeaseTimeToLiveResponse,
    keys: bool,
) -> Result<(), Exit> {
    if (r.granted_ttl, r.ttl) == (0, -1) {
        return Ok(writeln!(output, "lease {} already expired", number::id_text(r.id))?);
    }
    let (id, granted, remaining) = (number::id_text(r.id), r.granted_ttl, r.ttl);
    write!(output, "lease {id} granted with TTL({granted}s), remaining({remaining}s)")?;
    if keys {
        let keys = r.keys.join(&b' ');
        output.write_all(&[b", attached keys([", keys.as_slice(), b"])"].concat())?;
    }
    Ok(writeln!(output)?)
}

pub(super) fn leases(output: Output<'_>, r: &pb::LeaseLeasesResponse) -> Result<(), Exit> {
    writeln!(output, "found {} leases", r.leases.len())?;
    for lease in &r.leases {
        writeln!(output, "{}", number::id_text(lease.id))?;
    }
    Ok(())
}

/// Alarms as Go's protobuf library writes messages. It puts one space or two between fields,
/// depending on how the program was built; here it is always one.
pub(super) fn alarms(output: Output<'_>, r: &pb::AlarmResponse) -> Result<(), Exit> {
    for alarm in &r.alarms {
        let mut fields = Vec::new();
        if alarm.member_id != 0 {
            fields.push(format!("memberID:{}", alarm.member_id));
        }
        if alarm.alarm != 0 {
            fields.push(format!("alarm:{}", alarm_name(alarm)));
        }
        writeln!(output, "{}", fields.join(" "))?;
    }
    Ok(())
}

/// Healthy servers go to the output, others to standard error.
pub(super) fn health(output: Output<'_>, list: &[Health]) -> Result<(), Exit> {
    for Health { endpoint, took, error, .. } in list {
        if error.is_empty() {
            let what = "is healthy: successfully committed proposal: took =";
            writeln!(output, "{endpoint} {what} {took}")?;
        } else {
            let what = "is unhealthy: failed to commit proposal:";
            crate::output::complain(&format!("{endpoint} {what} {error}\n"));
        }
    }
    Ok(())
}

/// One line for each row, the cells separated by commas.
pub(super) fn rows(output: Output<'_>, rows: &[Vec<String>]) -> Result<(), Exit> {
    for row in rows {
        writeln!(output, "{}", row.join(", "))?;
    }
    Ok(())
}
