//! What becomes of what the helper thread has done: files that were opened or read, names that were looked up, rules that
//! were read again.

use super::Daemon;
use super::events::LogEvent;
use super::io::World;
use super::lookups::{self, Sought};
use super::uploads::News;
use crate::moment::Moment;
use crate::os::helper::Done;
use crate::os::resolve::Found;
use crate::server::Server;

impl Daemon {
    /// Hands what the helper has done to those who wait for it, a bounded number at once.
    pub(super) fn receive_done(&mut self, now: Moment) {
        let Daemon {
            roots,
            rules,
            rereading,
            manager,
            server,
            world,
            ..
        } = self;
        for _ in 0..DONE_AT_ONCE {
            match world.next_news() {
                None => break,
                Some(News::Room(client)) => server.on_room(now, client),
                Some(News::Stored(client, result)) => {
                    let result = result.map_err(|(refusal, error)| {
                        world.write_failed(client, error);
                        refusal
                    });
                    server.on_stored(now, world, client, result);
                }
                Some(News::Swept(files)) => world.log.write(now, &LogEvent::Swept(files)),
            }
        }
        for _ in 0..DONE_AT_ONCE {
            match world.next_done() {
                None => return,
                Some(Done::Read(client, serial, fetched)) => {
                    if world.fetched(client, serial, fetched) {
                        server.on_writable(client);
                    }
                }
                Some(Done::Looked(number, seen)) => {
                    let World { files, log, .. } = world;
                    if roots[number].saw(now, seen, files, log) {
                        world.names_changed();
                    }
                }
                Some(Done::OtherCase(peer, asked, Some(there))) => {
                    let event = LogEvent::OtherCase(peer, asked.as_name(), there.as_name());
                    world.log.write(now, &event);
                }
                Some(Done::OtherCase(_, _, None)) => {}
                Some(Done::Reread(texts)) => {
                    rereading.done(now, texts, world, &mut rules.access);
                    if !rereading.is_awaited() {
                        manager.ready();
                    }
                }
                Some(Done::Resolved(resolved)) => {
                    let (question, (resolved, there)) = *resolved;
                    let sought = Sought::Name(question);
                    let found = world.lookups.end(now, &sought);
                    match there {
                        Some((name, Found::File(opened))) => world.files.keep_found(name, opened),
                        Some((name, Found::Place(place))) => world.uploads.keep_found(name, place),
                        None => {}
                    }
                    if let Sought::Name(question) = sought {
                        world.naming.keep_answer(question, resolved);
                    }
                    for (peer, request) in found.requests {
                        // Its file may have to be looked up once more.
                        if let Some(awaited) =
                            server.on_request(now, world, peer, request.local, &request.datagram)
                        {
                            world.await_name(awaited, peer, request);
                        }
                    }
                    server.on_wakeup(now, world);
                    world.forget_found();
                }
                Some(Done::Opened(name, opened)) => {
                    let found = world.lookups.end(now, &Sought::File(name.clone()));
                    world.files.keep_found(name, opened);
                    hand_in_again(now, server, world, found);
                }
                Some(Done::Placed(name, place)) => {
                    let found = world.uploads.lookups.end(now, &Sought::File(name.clone()));
                    world.uploads.keep_found(name, place);
                    hand_in_again(now, server, world, found);
                }
            }
        }
    }
}

/// What those waited for is known now.
fn hand_in_again(now: Moment, server: &mut Server, world: &mut World, found: lookups::Found) {
    for (peer, request) in found.requests {
        // Not a third time: its client repeats it.
        let _ = server.on_request(now, world, peer, request.local, &request.datagram);
    }
    for client in found.clients {
        server.on_found(now, client);
    }
    // The next client takes what was found.
    server.on_wakeup(now, world);
    world.forget_found();
}

/// What is taken in one turn.
const DONE_AT_ONCE: usize = 256;
