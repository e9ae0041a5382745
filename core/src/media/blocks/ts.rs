//! Packets of an MPEG transport stream (ISO/IEC 13818-1 §2.4.3).

use bytes::Bytes;

use super::Front;
use crate::read::{Reader, Truncated};

/// Finds packets one after the other, and among them those that a player can begin with.
///
/// It needs the association table (PAT), the map of its first program (PMT), and then a packet in which a picture
/// starts that the encoder marks as a point of random access; without pictures, one in which any sound starts. Some
/// servers send the tables once: a player that comes later is given the newest.
#[derive(Debug, Default)]
pub(super) struct Packets {
    /// What comes next follows a packet, so that its first byte is enough.
    follows: bool,
    associations: Table,
    map: Table,
    map_pid: Option<u16>,
    lead: Option<Lead>,
    /// Pictures that started since one was marked.
    unmarked: u32,
}

/// The elementary stream by which a player begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lead {
    pid: u16,
    has_pictures: bool,
}

impl Packets {
    pub(super) fn front(&mut self, bytes: &[u8]) -> Front {
        let Some(packet) = bytes.first_chunk::<PACKET>() else {
            return Front::Incomplete;
        };
        if packet.first() != Some(&SYNC) {
            self.follows = false;
            return Front::Noise(1);
        }
        if !self.follows {
            match bytes.get(PACKET) {
                None => return Front::Incomplete,
                Some(&SYNC) => {}
                Some(_) => return Front::Noise(1),
            }
            self.follows = true;
        }
        // A packet that cannot be read passes like any other, and is no point to begin with.
        let is_entry = self.take(packet).unwrap_or(false);
        Front::Unit(PACKET, is_entry.then(|| self.tables()))
    }

    /// What a player is given before its first packet.
    fn tables(&self) -> Bytes {
        [&*self.associations.packets, &*self.map.packets]
            .concat()
            .into()
    }

    /// Takes a packet. True: a player can begin with it.
    fn take(&mut self, bytes: &[u8; PACKET]) -> Result<bool, Truncated> {
        let packet = Packet::read(bytes)?;
        if packet.pid == ASSOCIATIONS {
            if let Some(listed) = self.associations.take(bytes, &packet, ASSOCIATION_TABLE) {
                let map_pid = first_program(listed)?;
                if map_pid.is_some() && map_pid != self.map_pid {
                    self.map_pid = map_pid;
                    self.map = Table::default();
                    self.lead = None;
                }
            }
            return Ok(false);
        }
        if Some(packet.pid) == self.map_pid {
            if let Some(listed) = self.map.take(bytes, &packet, PROGRAM_MAP)
                && let Some(lead) = lead_of(listed)?
            {
                self.lead = Some(lead);
            }
            return Ok(false);
        }
        let leads = self.lead.filter(|lead| lead.pid == packet.pid);
        Ok(leads.is_some_and(|lead| packet.starts_unit && self.begins(lead, &packet)))
    }

    /// Whether a player can begin with the picture or sound that starts here.
    fn begins(&mut self, lead: Lead, packet: &Packet<'_>) -> bool {
        if !lead.has_pictures {
            return true;
        }
        self.unmarked = if packet.is_random_access {
            0
        } else {
            self.unmarked.saturating_add(1)
        };
        packet.is_random_access || self.unmarked > MAX_UNMARKED
    }
}

/// The head of a packet (§2.4.3.2), and what it carries.
struct Packet<'a> {
    pid: u16,
    /// `payload_unit_start_indicator`.
    starts_unit: bool,
    /// `random_access_indicator` of its adaptation field (§2.4.3.4).
    is_random_access: bool,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let head = reader.u16()?;
        let control = reader.u8()?;
        let mut is_random_access = false;
        if control & HAS_ADAPTATION != 0 {
            let length = reader.u8()?;
            let adaptation = reader.bytes(length.into())?;
            is_random_access = adaptation.first().is_some_and(|flags| flags & 0x40 != 0);
        }
        let carries = control & HAS_PAYLOAD != 0;
        Ok(Self {
            pid: head & 0x1fff,
            starts_unit: head & 0x4000 != 0 && carries,
            is_random_access,
            payload: if carries { reader.rest() } else { &[] },
        })
    }
}

/// A table of the program, in packets of its own.
#[derive(Debug, Default)]
struct Table {
    /// The packets of the newest one that is whole.
    packets: Vec<u8>,
    /// Those of the next one, and its bytes so far; empty where none has begun.
    coming: Vec<u8>,
    section: Vec<u8>,
}

impl Table {
    /// Takes a packet of the table of this id; what it lists, once it is whole.
    fn take(&mut self, bytes: &[u8; PACKET], packet: &Packet<'_>, id: u8) -> Option<&[u8]> {
        if packet.starts_unit {
            let (pointer, rest) = packet.payload.split_first()?;
            self.coming.clear();
            self.section.clear();
            self.section
                .extend_from_slice(rest.get(usize::from(*pointer)..)?);
        } else if self.coming.is_empty() {
            return None;
        } else {
            self.section.extend_from_slice(packet.payload);
        }
        self.coming.extend_from_slice(bytes);
        // `table_id`, then four bits of flags and `section_length` (§2.4.4).
        let length = match *self.section.as_slice() {
            [_, high, low, ..] => usize::from(high & 0x0f) << 8 | usize::from(low),
            _ => return None,
        };
        if length > MAX_SECTION {
            self.coming.clear();
            return None;
        }
        let listed = listed(self.section.get(..3 + length)?, id);
        if listed.is_some() {
            self.packets.clone_from(&self.coming);
        }
        self.coming.clear();
        listed
    }
}

/// The packets in which the map of the first program is (§2.4.4.3).
fn first_program(listed: &[u8]) -> Result<Option<u16>, Truncated> {
    let mut reader = Reader::new(listed);
    while reader.remaining() > 0 {
        let program = reader.u16()?;
        let pid = reader.u16()? & 0x1fff;
        // Number 0 is the network's.
        if program != 0 {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// The stream by which a player of the program begins (§2.4.4.8): the first with pictures, or else the first.
fn lead_of(listed: &[u8]) -> Result<Option<Lead>, Truncated> {
    let mut reader = Reader::new(listed);
    reader.u16()?; // PCR_PID
    let about_program = reader.u16()? & 0x0fff;
    reader.bytes(about_program.into())?;
    let mut first = None;
    while reader.remaining() > 0 {
        let kind = reader.u8()?;
        let pid = reader.u16()? & 0x1fff;
        let about_stream = reader.u16()? & 0x0fff;
        let descriptors = reader.bytes(about_stream.into())?;
        let lead = Lead {
            pid,
            has_pictures: has_pictures(kind, descriptors),
        };
        if lead.has_pictures {
            return Ok(Some(lead));
        }
        first.get_or_insert(lead);
    }
    Ok(first)
}

/// What a section lists, without its head and checksum; `None` where it is of another table than `id` or does not hold
/// yet (`current_next_indicator`).
fn listed(section: &[u8], id: u8) -> Option<&[u8]> {
    let (head, rest) = section.split_first_chunk::<8>()?;
    let [table, _, _, _, _, version, _, _] = *head;
    let holds = version & 1 != 0;
    let length = rest.len().checked_sub(CHECKSUM)?;
    rest.get(..length).filter(|_| table == id && holds)
}

/// Whether a `stream_type` (table 2-34) is one of pictures. Private ones say what they are in a registration.
fn has_pictures(kind: u8, mut descriptors: &[u8]) -> bool {
    if kind != PRIVATE {
        return PICTURES.contains(&kind);
    }
    while let [tag, length, rest @ ..] = descriptors {
        let Some((descriptor, later)) = rest.split_at_checked(usize::from(*length)) else {
            return false;
        };
        if *tag == REGISTRATION && REGISTERED.iter().any(|name| descriptor.starts_with(name)) {
            return true;
        }
        descriptors = later;
    }
    false
}

/// Bytes of a packet.
const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// `adaptation_field_control`.
const HAS_ADAPTATION: u8 = 0x20;
const HAS_PAYLOAD: u8 = 0x10;
/// The packets of the association table.
const ASSOCIATIONS: u16 = 0;
const ASSOCIATION_TABLE: u8 = 0;
const PROGRAM_MAP: u8 = 2;
const CHECKSUM: usize = 4;
/// The most that `section_length` may say in these tables (§2.4.4.5, §2.4.4.9).
const MAX_SECTION: usize = 1021;
/// Pictures without a mark after which each is taken for a point to begin with: at 25 a second, twelve seconds. Some
/// encoders mark none; players then wait by themselves for one that they can decode.
const MAX_UNMARKED: u32 = 300;
/// MPEG-1, MPEG-2, MPEG-4, H.264, H.265, H.266, AVS, AVS2, AVS3, Dirac and VC-1.
const PICTURES: [u8; 11] = [
    0x01, 0x02, 0x10, 0x1b, 0x24, 0x33, 0x42, 0xd2, 0xd4, 0xd1, 0xea,
];
/// PES packets that carry private data.
const PRIVATE: u8 = 0x06;
/// `registration_descriptor` (§2.6.8).
const REGISTRATION: u8 = 0x05;
const REGISTERED: [&[u8]; 3] = [b"AV01", b"HEVC", b"VP09"];

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of `pid` with this adaptation field's flags, if any, and payload.
    fn packet(pid: u16, starts: bool, flags: Option<u8>, payload: &[u8]) -> Vec<u8> {
        let head = pid | if starts { 0x4000 } else { 0 };
        let mut bytes = vec![SYNC];
        bytes.extend(head.to_be_bytes());
        let stuffing = PACKET - 4 - payload.len();
        match flags {
            // Sections are stuffed after their end.
            None => {
                bytes.push(HAS_PAYLOAD);
                bytes.extend_from_slice(payload);
                bytes.resize(PACKET, 0xff);
            }
            Some(flags) => {
                bytes.push(HAS_PAYLOAD | HAS_ADAPTATION);
                bytes.push(u8::try_from(stuffing - 1).expect("short"));
                bytes.push(flags);
                bytes.resize(4 + stuffing, 0xff);
                bytes.extend_from_slice(payload);
            }
        }
        bytes
    }

    fn section(table: u8, holds: bool, listed: &[u8]) -> Vec<u8> {
        let length = u16::try_from(5 + listed.len() + CHECKSUM).expect("short");
        let mut bytes = vec![table];
        bytes.extend((0xb000 | length).to_be_bytes());
        bytes.extend([0, 1, 0xc0 | u8::from(holds), 0, 0]);
        bytes.extend_from_slice(listed);
        bytes.extend([0; CHECKSUM]);
        bytes
    }

    fn pat(map_pid: u16) -> Vec<u8> {
        let [high, low] = map_pid.to_be_bytes();
        let section = section(
            ASSOCIATION_TABLE,
            true,
            &[0, 0, 0xe0, 0x10, 0, 1, 0xe0 | high, low],
        );
        packet(ASSOCIATIONS, true, None, &[&[0][..], &section].concat())
    }

    fn streams(listed: &[(u8, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0xe1, 0x00, 0xf0, 0x00];
        for (kind, pid, descriptors) in listed {
            bytes.push(*kind);
            bytes.extend((0xe000 | pid).to_be_bytes());
            bytes.extend((0xf000 | descriptors.len() as u16).to_be_bytes());
            bytes.extend_from_slice(descriptors);
        }
        bytes
    }

    fn pmt(listed: &[(u8, u16, &[u8])]) -> Vec<u8> {
        let section = section(PROGRAM_MAP, true, &streams(listed));
        packet(0x1000, true, None, &[&[0][..], &section].concat())
    }

    /// For each packet of `stream`, the tables that a player is given that begins with it.
    fn entries_of(stream: &[Vec<u8>]) -> Vec<Option<Bytes>> {
        let mut packets = Packets {
            follows: true,
            ..Packets::default()
        };
        let fronts = stream.iter().map(|packet| packets.front(packet));
        fronts
            .map(|front| match front {
                Front::Unit(PACKET, entry) => entry,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    const H264: (u8, u16, &[u8]) = (0x1b, 0x100, &[]);
    const AAC: (u8, u16, &[u8]) = (0x0f, 0x101, &[]);

    #[test]
    fn a_player_begins_with_the_tables_and_a_marked_picture() {
        let marked = packet(0x100, true, Some(0x50), &[1; 20]);
        let stream = [
            marked.clone(),
            pat(0x1000),
            marked.clone(),
            pmt(&[AAC, H264]),
            packet(0x101, true, Some(0x40), &[2; 20]),
            packet(0x100, true, Some(0x10), &[3; 20]),
            packet(0x100, false, Some(0x40), &[4; 20]),
            marked,
        ];
        let entries = entries_of(&stream);
        let tables = [pat(0x1000), pmt(&[AAC, H264])].concat();
        assert_eq!(
            entries[..7],
            vec![None; 7],
            "no tables yet, sound, no start, no mark"
        );
        assert_eq!(entries[7].as_deref(), Some(tables.as_slice()));
    }

    #[test]
    fn sound_alone_begins_anywhere() {
        let sound = packet(0x101, true, None, &[2; 20]);
        let stream = [
            pat(0x1000),
            pmt(&[AAC]),
            sound.clone(),
            packet(0x101, false, None, &[3; 20]),
            sound,
        ];
        let entries = entries_of(&stream);
        let begins: Vec<bool> = entries.iter().map(Option::is_some).collect();
        assert_eq!(begins, [false, false, true, false, true]);
    }

    /// The cause of a row, a stream's type and descriptors, and whether it has pictures.
    type Row = (&'static str, (u8, &'static [u8]), bool);

    #[test]
    fn which_streams_have_pictures_is_said_by_type_or_registration() {
        let rows: [Row; 6] = [
            ("H.265", (0x24, &[]), true),
            ("AAC", (0x0f, &[]), false),
            (
                "private, and AV1",
                (0x06, &[0x0a, 1, 0, 5, 4, b'A', b'V', b'0', b'1']),
                true,
            ),
            (
                "private, and Opus",
                (0x06, &[5, 4, b'O', b'p', b'u', b's']),
                false,
            ),
            ("private, and nothing said", (0x06, &[]), false),
            (
                "a descriptor that is cut off",
                (0x06, &[5, 9, b'A', b'V']),
                false,
            ),
        ];
        for (cause, (kind, descriptors), expected) in rows {
            assert_eq!(has_pictures(kind, descriptors), expected, "{cause}");
        }
    }

    #[test]
    fn the_newest_tables_count_and_may_take_several_packets() {
        let long = [0x0a; 250];
        let listed: [(u8, u16, &[u8]); 2] = [(0x0f, 0x101, &long), H264];
        let whole = [&[0][..], &section(PROGRAM_MAP, true, &streams(&listed))].concat();
        let (first, second) = whole.split_at(PACKET - 4);
        let parts = [
            packet(0x1000, true, None, first),
            packet(0x1000, false, None, second),
        ];
        let marked = packet(0x100, true, Some(0x40), &[1; 20]);
        let stream = [
            pat(0x1000),
            pmt(&[AAC]),
            parts[0].clone(),
            packet(0x101, true, None, &[2; 20]),
            parts[1].clone(),
            marked.clone(),
            // Another program's map takes its place.
            pat(0x1001),
            marked,
        ];
        let entries = entries_of(&stream);
        assert!(entries[3].is_some(), "the table before holds until then");
        let tables = [pat(0x1000), parts.concat()].concat();
        assert_eq!(entries[5].as_deref(), Some(tables.as_slice()));
        assert_eq!(entries[7], None);
    }

    #[test]
    fn a_table_that_does_not_hold_yet_or_is_another_is_passed_over() {
        let whole = |id, holds, listed: &[u8]| {
            let section = section(id, holds, listed);
            packet(0x1000, true, None, &[&[0][..], &section].concat())
        };
        let marked = packet(0x100, true, Some(0x40), &[1; 20]);
        let tables = [pat(0x1000), pmt(&[H264])].concat();
        let sound = streams(&[AAC]);
        for other in [whole(PROGRAM_MAP, false, &sound), whole(0x42, true, &sound)] {
            let entries = entries_of(&[pat(0x1000), pmt(&[H264]), other, marked.clone()]);
            assert_eq!(entries[3].as_deref(), Some(tables.as_slice()));
        }
        assert_eq!(
            first_program(&[0, 0, 0xe0, 0x10]),
            Ok(None),
            "the network's"
        );
    }

    #[test]
    fn an_encoder_that_marks_nothing_is_begun_with_any_picture_in_the_end() {
        let picture = packet(0x100, true, Some(0), &[1; 20]);
        let mut stream = vec![pat(0x1000), pmt(&[H264])];
        stream.resize(2 + MAX_UNMARKED as usize + 2, picture);
        let entries = entries_of(&stream);
        let count = entries.iter().filter(|entry| entry.is_some()).count();
        assert_eq!(count, 2);
    }
}
