// Levels of nesting against a ground truth: a model of hypervisors in hypervisors whose virtual CPUs
// know how deep they are. Only what a processor sees of them reaches GuestLevels.
//
// They work as KVM does: a VMCS for each virtual CPU, and one more on which its host runs whatever
// that CPU's own guests are; the guests come and go, and their pages are used again.

#include "cpu/vmx/explain/exit_levels.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

using namespace droste;

namespace {

// A virtual CPU; the machine's own is that of level 1.
struct Cpu {
    unsigned level = 1;
    Cpu* host = nullptr;
    u64 own_vmcs = 0;     // its host runs it here
    u64 guests_vmcs = 0;  // its host runs its guests here; 0 until it has one
    u64 cr3 = 0;          // its host's, in the process that runs it
    u64 current = 0;      // its own current VMCS
    u64 ept = 0;
    std::vector<std::unique_ptr<Cpu>> guests;
};

class World {
  public:
    explicit World(u64 seed) : random_(seed) {}

    u64 entries = 0, wrong = 0, by_memo = 0;
    unsigned deepest = 1;

    void step() {
        Cpu* cpu = pick(machine_, random_() % 4);
        switch (random_() % 8) {
        case 0: start_guest(*cpu); break;
        case 1:
            if (cpu->level > 1 && random_() % 4 == 0) {
                end_guest(*cpu);
            }
            break;
        case 2: cpu->ept = random_() & ~u64{0xFFF}; break;  // its host builds new tables
        default: run(*cpu); break;
        }
    }

  private:
    Cpu* pick(Cpu& from, u64 depth) {
        if (depth == 0 || from.guests.empty()) {
            return &from;
        }
        return pick(*from.guests[random_() % from.guests.size()], depth - 1);
    }

    // Pages come back in any order and to any level.
    u64 new_region() {
        if (free_.empty() || random_() % 4 == 0) {
            return next_page_ += 0x1000;
        }
        std::swap(free_[random_() % free_.size()], free_.back());
        const u64 page = free_.back();
        free_.pop_back();
        return page;
    }
    void erase_and_clear(Cpu& host, u64 region) {
        levels_.born(region);  // VMCLEAR of an erased page
        if (host.level > 1) {
            handled_by_host(host);
        }
    }

    void start_guest(Cpu& host) {
        if (host.guests.size() >= 3 || host.level >= kDeepest) {
            return;
        }
        host.guests.push_back(std::make_unique<Cpu>());
        Cpu& guest = *host.guests.back();
        guest.level = host.level + 1;
        guest.host = &host;
        guest.own_vmcs = new_region();
        guest.cr3 = next_page_ += 0x1000;
        guest.ept = next_page_ += 0x1000;
        deepest = std::max(deepest, guest.level);
        run(host);
        erase_and_clear(host, guest.own_vmcs);
        enter(host, guest.own_vmcs, guest.cr3, guest);
    }
    void give_back(Cpu& cpu) {
        for (const auto& guest : cpu.guests) {
            give_back(*guest);
        }
        free_.push_back(cpu.own_vmcs);
        if (cpu.guests_vmcs != 0) {
            free_.push_back(cpu.guests_vmcs);
        }
    }
    void end_guest(Cpu& cpu) {
        Cpu& host = *cpu.host;
        run(host);
        give_back(cpu);
        std::erase_if(host.guests, [&](const auto& guest) { return guest.get() == &cpu; });
    }

    // Something below exits, and `cpu` has to see to it.
    void run(Cpu& cpu) {
        if (cpu.level == 1) {
            interlude();
            return;
        }
        run(*cpu.host);
        enter(*cpu.host, cpu.own_vmcs, cpu.cr3, cpu);
    }
    // `cpu` exits for something its host does for it.
    void handled_by_host(Cpu& cpu) {
        run(*cpu.host);
        enter(*cpu.host, cpu.own_vmcs, cpu.cr3, cpu);
    }
    // `host`, which runs, makes `truth` run on `region`.
    void enter(Cpu& host, u64 region, u64 cr3, Cpu& truth) {
        if (host.level == 1) {
            processor_enters(region, cr3, truth);
            return;
        }
        REQUIRE(runs_ == &host);
        if (host.current != region) {
            levels_.loaded(id_, region);
            host.current = region;
            handled_by_host(host);
        }
        constexpr u64 kLaunchRip = 0x7000;
        levels_.launched(id_, cr3 | random_() % 4096, kLaunchRip);
        launches_[host.level] = id_;
        run(*host.host);
        if (host.guests_vmcs == 0) {
            host.guests_vmcs = new_region();
            erase_and_clear(*host.host, host.guests_vmcs);
        }
        enter(*host.host, host.guests_vmcs, host.cr3, truth);
    }
    void processor_enters(u64 region, u64 cr3, Cpu& truth) {
        const u64 rip = random_();
        const GuestLevels::Guest guest =
            entered_by_memo({region, cr3 | random_() % 2, truth.ept, 1, rip});
        ++entries;
        wrong += guest.level != truth.level ? 1 : 0;
        CAPTURE(entries, region, truth.level, guest.level);
        CHECK(levels_.level_of_vmcs(region) == guest.level);
        runs_ = &truth;
        id_ = guest.id;
        // L1 may see to an exit alone and go on.
        if (random_() % 2 == 0) {
            const GuestLevels::Guest again = entered_by_memo({region, cr3, truth.ept, 1, rip + 2});
            ++entries;
            wrong += again.level != truth.level ? 1 : 0;
        }
    }
    // As the processor does it, which keeps a memo with each VMCS.
    GuestLevels::Guest entered_by_memo(const GuestLevels::Entry& entry) {
        auto& [memo, ept] = memos_[entry.region];
        if (ept == entry.ept_pointer && levels_.same_again(memo, entry.cr3)) {
            ++by_memo;
            return memo.guest;
        }
        ept = entry.ept_pointer;
        return levels_.entered(entry, launches_, memo);
    }
    // L1 has the processor, and may run something else first.
    void interlude() {
        if (machine_.guests.empty() || busy_ || random_() % 8 != 0) {
            return;
        }
        busy_ = true;
        // Guests of its own only: what nests is busy in the midst of something.
        Cpu& other = *machine_.guests[random_() % machine_.guests.size()];
        if (other.guests.empty()) {
            processor_enters(other.own_vmcs, other.cr3, other);
        } else if (machine_.guests.size() < 6) {
            machine_.guests.push_back(std::make_unique<Cpu>());
            Cpu& guest = *machine_.guests.back();
            guest.level = 2;
            guest.host = &machine_;
            guest.own_vmcs = new_region();
            guest.cr3 = next_page_ += 0x1000;
            levels_.born(guest.own_vmcs);
            processor_enters(guest.own_vmcs, guest.cr3, guest);
        }
        busy_ = false;
    }

    static constexpr unsigned kDeepest = 5;
    std::mt19937_64 random_;
    GuestLevels levels_;
    GuestLevels::Launches launches_{};
    Cpu machine_;
    Cpu* runs_ = nullptr;
    GuestId id_ = 0;
    bool busy_ = false;
    u64 next_page_ = 0x10'0000;
    std::vector<u64> free_;
    std::map<u64, std::pair<GuestLevels::Memo, u64>> memos_;  // by VMCS; and the EPT it is of
};

GuestLevels::Guest enter(GuestLevels& levels, GuestLevels::Entry entry) {
    GuestLevels::Memo memo;
    return levels.entered(entry, {}, memo);
}

}  // namespace

TEST_CASE("levels: hypervisors that know theirs are named right, however short-lived their guests",
          "[vmx][trace]") {
    for (u64 seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        World world(seed);
        for (unsigned step = 0; step < 3000 && world.entries < 60'000; ++step) {
            world.step();
        }
        CHECK(world.deepest >= 4);
        CHECK(world.entries > 1000);
        CHECK(world.wrong == 0);
        CHECK(world.by_memo > world.entries / 8);
    }
}

TEST_CASE("levels: KVM's L3 and L4 share a VMCS and a VPID, and new tables are no new guest",
          "[vmx][trace]") {
    constexpr u64 k01 = 0x1000, k02 = 0x2000, kCr3 = 0x9000;
    constexpr u64 kX = 0x5000, kX2 = 0x6000, kY = 0x7000;  // VMCSs of L2 and of L3
    GuestLevels levels;
    const GuestId l2 = enter(levels, {k01, kCr3, 0xA000, 1, 0}).id;
    levels.loaded(l2, kX);
    levels.launched(l2, 0x300, 0x10);
    const GuestLevels::Guest l3 = enter(levels, {k02, kCr3, 0xB000, 2, 0});
    CHECK(l3.level == 3);
    levels.loaded(l3.id, kY);
    levels.launched(l3.id, 0x400, 0x10);
    CHECK(enter(levels, {k01, kCr3, 0xA000, 1, 0}).level == 2);
    levels.loaded(l2, kX2);
    levels.launched(l2, 0x300, 0x10);
    CHECK(enter(levels, {k02, kCr3, 0xC000, 2, 0}).level == 4);
    CHECK(levels.level_of_vmcs(k02) == 4);
    CHECK(enter(levels, {k02, kCr3, 0xD000, 2, 0}).level == 4);  // new tables
    CHECK(enter(levels, {k01, kCr3, 0xA000, 1, 0}).level == 2);
    levels.loaded(l2, kX);
    levels.launched(l2, 0x300, 0x10);
    CHECK(enter(levels, {k02, kCr3, 0xC000, 2, 0}).level == 3);  // those of L4 before
    CHECK(levels.level_of_vmcs(k01) == 2);
    CHECK(levels.level_of_vmcs(0x8000) == 0);
}

TEST_CASE("levels: another guest that begins while a launch is not answered is no deeper",
          "[vmx][trace]") {
    GuestLevels levels;
    const GuestId first = enter(levels, {0x1000, 0x9000, 0, 1, 0}).id;
    levels.launched(first, 0, 0x10);
    CHECK(enter(levels, {0x3000, 0xC000, 0, 2, 0}).level == 2);  // of another process of L1
    CHECK(enter(levels, {0x2000, 0x9000, 0, 3, 0}).level == 3);
    // The VMCS of a guest that is gone serves a new one.
    levels.born(0x2000);
    CHECK(enter(levels, {0x2000, 0xD000, 0, 2, 0}).level == 2);
}

TEST_CASE("levels: behind a launch that failed, what begins is no deeper", "[vmx][trace]") {
    GuestLevels levels;
    const GuestId first = enter(levels, {0x1000, 0x9000, 0, 1, 0}).id;
    levels.launched(first, 0, 0x10);
    // A guest of another process takes its place among those entered of late.
    CHECK(enter(levels, {0x10'1000, 0xC000, 0, 2, 0}).level == 2);
    CHECK(enter(levels, {0x1000, 0x9000, 0, 1, 0x13}).level == 2);  // it goes on behind VMLAUNCH
    CHECK(enter(levels, {0x2000, 0x9000, 0, 3, 0}).level == 2);
}

TEST_CASE("levels: of two virtual CPUs of a guest the one seen last on this processor launched it",
          "[vmx][trace]") {
    GuestLevels levels;
    const GuestId cpu0 = enter(levels, {0x1000, 0x9000, 0, 1, 0}).id;
    const GuestId cpu1 = enter(levels, {0x2000, 0x9000, 0, 2, 0}).id;
    levels.launched(cpu0, 0, 0x10);
    levels.launched(cpu1, 0, 0x10);
    levels.loaded(cpu0, 0x5000);
    levels.loaded(cpu1, 0x6000);
    GuestLevels::Launches seen{};
    seen[2] = cpu0;
    GuestLevels::Memo memo;
    CHECK(levels.entered({0x3000, 0x9000, 0, 3, 0}, seen, memo).id == 0x5000);
    seen[2] = cpu1;
    CHECK(levels.entered({0x4000, 0x9000, 0, 4, 0}, seen, memo).id == 0x6000);
}

TEST_CASE("levels: guests that load no VMCS are told by their EPT", "[vmx][trace]") {
    constexpr u64 k01 = 0x1000, k02 = 0x2000, kCr3 = 0x9000;
    GuestLevels levels;
    const GuestId l2 = enter(levels, {k01, kCr3, 0xA000, 1, 0}).id;
    const auto l2_launches = [&](u64 ept_pointer) {
        CHECK(enter(levels, {k01, kCr3, 0xA000, 1, 0}).level == 2);
        levels.launched(l2, 0x300, 0x10);
        return enter(levels, {k02, kCr3, ept_pointer, 2, 0});
    };
    const GuestLevels::Guest l3 = l2_launches(0xB000);
    CHECK(l3.level == 3);
    levels.launched(l3.id, 0x400, 0x10);
    CHECK(l2_launches(0xC000).level == 4);
    CHECK(l2_launches(0xB000).level == 3);
    CHECK(l2_launches(0xC000).level == 4);
    CHECK(l2_launches(0xB000).id == l3.id);
}

TEST_CASE("levels: one VMCS for several levels is told by VPID and EPTP", "[vmx][trace]") {
    GuestLevels levels;
    const GuestId l2 = enter(levels, {0x1000, 0x9000, 0xA000, 1, 0}).id;
    CHECK(enter(levels, {0x1000, 0x9000, 0xB000, 1, 0}).level == 2);  // new tables
    levels.launched(l2, 0, 0x10);
    CHECK(enter(levels, {0x1000, 0x9000, 0xC000, 1, 0x13}).level == 2);  // and a launch that failed
    levels.launched(l2, 0, 0x20);
    CHECK(enter(levels, {0x1000, 0x9000, 0xD000, 2, 0x500}).level == 3);
    CHECK(enter(levels, {0x1000, 0x9000, 0xD000, 2, 0x502}).level == 3);
    CHECK(enter(levels, {0x1000, 0x9000, 0xC000, 1, 0x23}).level == 2);
    CHECK(enter(levels, {0x1000, 0x9000, 0xD000, 2, 0x504}).level == 3);
}

TEST_CASE("levels: nine and deeper are one", "[vmx][trace]") {
    constexpr u64 kOwn = 0x100'0000, kForGuests = 0x200'0000, kPage = 0x1000;
    GuestLevels levels;
    std::vector<GuestId> chain = {enter(levels, {0x1000, 0x9000, 0, 1, 0}).id};
    for (unsigned level = 3; level <= 12; ++level) {
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const bool last = i + 1 == chain.size();
            levels.loaded(chain[i], (last ? kOwn : kForGuests) + i * kPage);
            levels.launched(chain[i], 0, 0);
        }
        const GuestLevels::Guest guest = enter(levels, {0x2000, 0x9000, 0, 2, 0});
        CHECK(guest.level == std::min(level, kMaxLevels - 1));
        if (level < kMaxLevels) {
            chain.push_back(guest.id);
        }
    }
}
