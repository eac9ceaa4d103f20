//! Finds the user whose process holds the other end of a local connection, in the kernel's TCP tables (`/proc/net`).

use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The user whose process holds the other end of a connection. `None` if no process of this machine and network
/// namespace holds it, or it was closed.
///
/// Reads `/proc/net/tcp` and `/proc/net/tcp6` up to the connection: they have a line for
/// each connection of the machine, so call this once per connection, and only if it matters.
///
/// # Errors
/// The tables cannot be read, for example because `/proc` is not mounted.
pub(crate) fn socket_owner(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    // The kernel may omit a connection from a table that changes while it is read, so try twice.
    let row = match find_row(peer, local)? {
        Row::Missing => find_row(peer, local)?,
        found => found,
    };
    Ok(match row {
        Row::Owned(user) => Some(user),
        Row::Orphaned | Row::Missing => None,
    })
}

fn find_row(peer: SocketAddr, local: SocketAddr) -> io::Result<Row> {
    let (peer_host, local_host) = (peer.ip().to_canonical(), local.ip().to_canonical());
    let ends = |hosts: [IpAddr; 2]| Ends::new(hosts[0], peer.port(), hosts[1], local.port());
    Ok(match (peer_host, local_host) {
        (IpAddr::V4(peer_host), IpAddr::V4(local_host)) => {
            let ends_v4 = ends([peer_host.into(), local_host.into()]);
            // The table of IPv6 holds dual-stack sockets.
            let mapped = ends([peer_host.to_ipv6_mapped().into(), local_host.to_ipv6_mapped().into()]);
            match find_in_file("/proc/net/tcp", &ends_v4)? {
                Row::Missing => find_in_file("/proc/net/tcp6", &mapped)?,
                found => found,
            }
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => find_in_file("/proc/net/tcp6", &ends([peer_host, local_host]))?,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Row::Missing,
    })
}

/// The entry of a socket in a table.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    /// A process of this user holds it.
    Owned(u32),
    /// No process holds it any more. The kernel then reports user 0, which must not be taken for root.
    Orphaned,
    Missing,
}

/// Both ends of a connection in the format of the tables, seen from the client.
struct Ends {
    client: String,
    server: String,
}

impl Ends {
    fn new(client: IpAddr, client_port: u16, server: IpAddr, server_port: u16) -> Self {
        Self { client: table_address(client, client_port), server: table_address(server, server_port) }
    }
}

/// An address in the format of the tables: 32-bit words in native byte order, in hexadecimal digits.
fn table_address(host: IpAddr, port: u16) -> String {
    let mut text = String::with_capacity(37);
    let bytes = match host {
        IpAddr::V4(host) => host.octets().to_vec(),
        IpAddr::V6(host) => Ipv6Addr::octets(&host).to_vec(),
    };
    let (words, _) = bytes.as_chunks::<4>();
    // Writing to a string does not fail.
    for word in words {
        let _ = write!(text, "{:08X}", u32::from_ne_bytes(*word));
    }
    let _ = write!(text, ":{port:04X}");
    text
}

fn find_in_file(path: &str, ends: &Ends) -> io::Result<Row> {
    match File::open(path) {
        Ok(file) => find_in_table(BufReader::with_capacity(1 << 16, file), ends),
        // A kernel without IPv6 has no second table.
        Err(error) if error.kind() == ErrorKind::NotFound && path.ends_with('6') => Ok(Row::Missing),
        Err(error) => Err(error),
    }
}

/// Finds the client's socket in a table. Reads up to its line.
fn find_in_table(mut table: impl BufRead, ends: &Ends) -> io::Result<Row> {
    let mut line = Vec::with_capacity(256);
    loop {
        line.clear();
        if table.read_until(b'\n', &mut line)? == 0 {
            return Ok(Row::Missing);
        }
        if let Some(row) = str::from_utf8(&line).ok().and_then(|line| parse_line(line, ends)) {
            return Ok(row);
        }
    }
}

/// The entry in a line. `None` if it is not the client's socket.
fn parse_line(line: &str, ends: &Ends) -> Option<Row> {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != ends.client || fields.next()? != ends.server {
        return None;
    }
    let user = fields.nth(4)?.parse().ok()?;
    let inode = fields.nth(1)?;
    Some(if inode == "0" { Row::Orphaned } else { Row::Owned(user) })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use rstest::rstest;

    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    /// A table as a little-endian machine writes it: a listener, a client and the server's end of it.
    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:22B8 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C350 0100007F:22B8 01 00000000:00000000 00:00000000 00000000  1002        0 4713 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:C351 0100007F:22B8 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
   4: 0700A8C0:C350 0700A8C0:22B8 06 00000000:00000000 03:00000D5B 00000000     0        0 0 3 0000000000000000
   5: 0700A8C0:C352 0700A8C0:22B8 01 00000000
";

    #[cfg(target_endian = "little")]
    const TABLE_6: &str = "\
   0: 00000000000000000000000001000000:C350 00000000000000000000000001000000:22B8 01 00000000:00000000 00:00000000 00000000  1003        0 4714 1 0000000000000000 20 4 30 10 -1
   1: 0000000000000000FFFF00000100007F:C353 0000000000000000FFFF00000100007F:22B8 01 00000000:00000000 00:00000000 00000000  1004        0 4715 1 0000000000000000 20 4 30 10 -1
   2: B80D0120000000000000000001000000:C350 B80D0120000000000000000002000000:22B8 01 00000000:00000000 00:00000000 00000000  1005        0 4716 1 0000000000000000 20 4 30 10 -1
";

    #[cfg(target_endian = "little")]
    #[rstest]
    #[case::a_client(TABLE, "127.0.0.1:50000", "127.0.0.1:8888", Row::Owned(1002))]
    #[case::not_the_servers_own_end(TABLE, "127.0.0.1:8888", "127.0.0.1:50001", Row::Missing)]
    #[case::another_port(TABLE, "127.0.0.1:50000", "127.0.0.1:8889", Row::Missing)]
    #[case::closed_at_once(TABLE, "127.0.0.1:50001", "127.0.0.1:8888", Row::Orphaned)]
    #[case::in_time_wait(TABLE, "192.168.0.7:50000", "192.168.0.7:8888", Row::Orphaned)]
    #[case::a_torn_line(TABLE, "192.168.0.7:50002", "192.168.0.7:8888", Row::Missing)]
    #[case::version_6(TABLE_6, "[::1]:50000", "[::1]:8888", Row::Owned(1003))]
    #[case::a_mapped_address(
        TABLE_6,
        "[::ffff:127.0.0.1]:50003",
        "[::ffff:127.0.0.1]:8888",
        Row::Owned(1004)
    )]
    #[case::a_global_address(TABLE_6, "[2001:db8::1]:50000", "[2001:db8::2]:8888", Row::Owned(1005))]
    #[case::nothing("", "127.0.0.1:50000", "127.0.0.1:8888", Row::Missing)]
    fn table_rows_are_matched_by_both_ends(
        #[case] table: &str,
        #[case] peer: SocketAddr,
        #[case] local: SocketAddr,
        #[case] row: Row,
    ) {
        let ends = Ends::new(peer.ip(), peer.port(), local.ip(), local.port());
        assert_eq!(find_in_table([HEAD, table].concat().as_bytes(), &ends).unwrap(), row);
    }

    #[test]
    fn reading_stops_at_the_matching_line() {
        let ends = Ends::new([127, 0, 0, 1].into(), 1, [127, 0, 0, 1].into(), 2);
        let client = format!("0: {} {} 01 0:0 0:0 0 7 0 9\n", ends.client, ends.server);
        let text = [HEAD, &client, "behind\n"].concat();
        let mut table = text.as_bytes();
        assert_eq!(find_in_table(&mut table, &ends).unwrap(), Row::Owned(7));
        assert_eq!(table, b"behind\n");
    }

    fn own_user() -> u32 {
        std::fs::metadata("/proc/self").unwrap().uid()
    }

    #[rstest]
    #[case::version_4("127.0.0.1:0", false)]
    #[case::version_6("[::1]:0", false)]
    #[case::a_client_with_a_socket_for_both("127.0.0.1:0", true)]
    fn open_connections_have_an_owner(#[case] bind: &str, #[case] mapped: bool) {
        // Some machines have no IPv6.
        let Ok(listener) = TcpListener::bind(bind) else { return };
        let address = listener.local_addr().unwrap();
        let client = if mapped {
            let IpAddr::V4(host) = address.ip() else { panic!("{address} is no IPv4 address") };
            TcpStream::connect((host.to_ipv6_mapped(), address.port()))
        } else {
            TcpStream::connect(address)
        };
        let Ok(client) = client else { return };
        let (server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        assert_eq!(socket_owner(peer, local).unwrap(), Some(own_user()));
        // A half-closed connection still has an owner. A closed one has none, although the kernel may report root.
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(socket_owner(peer, local).unwrap(), Some(own_user()));
        drop(client);
        assert_eq!(socket_owner(peer, local).unwrap(), None);
    }
}
