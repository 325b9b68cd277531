//! Which block an ACK means, in lockstep (RFC 1350).

use ripple_tftpd::transfer::Outcome;

use crate::talk::Talk;

#[test]
fn files_end_with_a_block_that_is_not_full() {
    for (length, last) in [
        (0, 1),
        (1, 1),
        (511, 1),
        (512, 2),
        (513, 2),
        (1024, 3),
        (1025, 3),
    ] {
        let mut talk = Talk::new("", length);
        talk.at(0.0).begins().sends(1..=1);
        for block in 2..=last {
            talk.soon()
                .ack(u16::try_from(block - 1).unwrap())
                .sends(block..=block);
        }
        talk.soon()
            .ack(u16::try_from(last).unwrap())
            .ends(Outcome::Complete);
        assert_eq!(talk.transfer.acknowledged_bytes(), length);
        assert_eq!(talk.transfer.length(), Some(length));
        assert_eq!(talk.packets, last);
    }
}

/// RFC 1350 section 6: the receiver knows the end by a short block, so this one must come.
#[test]
fn a_file_that_fills_its_blocks_ends_with_an_empty_one() {
    let mut talk = Talk::under_way("blksize 1024", 2048);
    talk.sends(1..=1);
    talk.at(0.002).ack(1).sends(2..=2);
    talk.at(0.003).ack(2).sends(3..=3);
    talk.at(0.004).ack(3).ends(Outcome::Complete);
}

#[test]
fn an_old_ack_is_ignored() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.runs_until_sent(10).sends(10..=10);
    talk.waits_until(0.210);
    for old in (0..=8).rev() {
        talk.at(0.2).ack(old).nothing();
    }
    talk.due(0.210).sends(10..=10);
}

/// Servers that take it for good leave out the blocks between.
#[test]
fn an_ack_from_the_future_is_ignored() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    for future in [2, 3, 100, 1023, 1024, 32_768, 32_769, 65_534] {
        talk.at(0.002).ack(future).nothing();
    }
    talk.at(0.003).ack(1).sends(2..=2);
}

#[test]
fn of_all_block_numbers_one_makes_progress() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.runs_until_sent(10).sends(10..=10);
    for block in (0..=u16::MAX).filter(|&block| block != 10) {
        talk.at(0.05).ack(block).nothing();
    }
    assert_eq!(talk.transfer.acknowledged_bytes(), 9 * 1024);
    talk.at(0.06).ack(10).sends(11..=11);
    assert_eq!(talk.transfer.acknowledged_bytes(), 10 * 1024);
}

#[test]
fn what_is_ignored_does_not_move_the_deadline() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.runs_until_sent(10).sends(10..=10);
    talk.waits_until(0.210);
    talk.at(0.1).ack(7).ack(11).ack(40_000).waits_until(0.210);
    assert_eq!(talk.transfer.timing().progress_at(), crate::moment(0.010));
}

/// A netascii file is as long as its translation turns out to be.
#[test]
fn netascii_ends_where_the_translation_ends() {
    for (length, last) in [(0, 1), (511, 1), (512, 2), (513, 2), (1024, 3)] {
        let mut talk = Talk::netascii("", length);
        talk.at(0.0).begins().sends(1..=1);
        for block in 2..=last {
            assert_eq!(talk.transfer.length(), None);
            talk.soon()
                .ack(u16::try_from(block - 1).unwrap())
                .sends(block..=block);
        }
        assert_eq!(talk.transfer.length(), Some(length));
        talk.soon()
            .ack(u16::try_from(last).unwrap())
            .ends(Outcome::Complete);
        assert_eq!(talk.transfer.acknowledged_bytes(), length);
    }
}

#[test]
fn netascii_may_end_within_a_window() {
    let mut talk = Talk::netascii("windowsize 4", 512 * 5 + 3);
    talk.at(0.0).begins().sends_oack();
    talk.at(0.001).ack(0).sends(1..=4);
    talk.at(0.002).ack(4).sends(5..=6);
    assert_eq!(talk.transfer.length(), Some(512 * 5 + 3));
    // The end is known now, and what follows a gap ends there too.
    talk.at(0.003).ack(5).sends(6..=6);
    talk.at(0.004).ack(6).ends(Outcome::Complete);
}
