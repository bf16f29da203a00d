// CodePages: who is told what, and when a page counts as code.

#include "core/code_pages.hpp"
#include "core/guest_memory.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <utility>
#include <vector>

using namespace droste;

namespace {

constexpr PhysAddr kPage = 0x3000;

struct Write {
    PhysAddr address;
    unsigned bytes;
    bool operator==(const Write&) const = default;
};

class TestKeeper final : public CodePages::Keeper {
  public:
    void written(PhysAddr address, unsigned bytes) override { writes.push_back({address, bytes}); }
    void layout_changing() override { ++layouts; }

    std::vector<Write> writes;
    unsigned layouts = 0;
};

class TestWatcher final : public CodePages::Watcher {
  public:
    void page_became_code(PhysAddr page) override { code.push_back(page); }
    void layout_changed() override { ++layouts; }

    std::vector<PhysAddr> code;
    unsigned layouts = 0;
};

struct Pages {
    Expected<std::unique_ptr<GuestMemory>> memory_ = GuestMemory::create(u64{1} << 20);
    GuestMemory& memory = **memory_;
    CodePages& pages = memory.code_pages();
    TestKeeper interpreter, translator;
    TestWatcher watcher;
    u8 interpreter_mark = pages.add(interpreter);
    u8 translator_mark = pages.add(translator);

    Pages() { pages.add(watcher); }
    bool marked() { return (*memory.lookup(kPage).flags & kPageHasCode) != 0; }
};

}  // namespace

TEST_CASE("Watchers hear once that a page became code, whoever keeps it", "[code]") {
    Pages p;
    p.pages.became_code(kPage, p.interpreter_mark);
    p.pages.became_code(kPage, p.translator_mark);
    CHECK(p.watcher.code == std::vector<PhysAddr>{kPage});
    p.pages.no_longer_code(kPage, p.interpreter_mark);
    CHECK(p.marked());
    p.pages.no_longer_code(kPage, p.translator_mark);
    CHECK_FALSE(p.marked());
    p.pages.became_code(kPage, p.translator_mark);
    CHECK(p.watcher.code.size() == 2);
}

TEST_CASE("A write is told to those who keep code of the page, before it happens", "[code]") {
    Pages p;
    p.pages.became_code(kPage, p.translator_mark);
    const std::array<u8, 16> data{};
    CHECK(p.memory.write(kPage - 8, data));  // 8 bytes of the page before, 8 of this one
    CHECK(p.translator.writes == std::vector<Write>{{kPage, 8}});
    CHECK(p.interpreter.writes.empty());
    p.pages.became_code(kPage, p.interpreter_mark);
    u32 expected = 0;
    CHECK(p.memory.compare_exchange(kPage + 0x10, expected, u32{1}) == Exchange::Done);
    CHECK(p.interpreter.writes == std::vector<Write>{{kPage + 0x10, 4}});
    CHECK(p.translator.writes.size() == 2);
}

TEST_CASE("A page that is not memory never counts as code", "[code]") {
    Pages p;
    p.pages.became_code(0xC000'0000, p.interpreter_mark);
    CHECK(p.watcher.code.empty());
    p.pages.written(0xC000'0000, 4);
    CHECK(p.interpreter.writes.empty());
}

TEST_CASE("A keeper that left is told nothing, and its mark is free for the next", "[code]") {
    Pages p;
    p.pages.became_code(kPage, p.interpreter_mark);
    p.pages.no_longer_code(kPage, p.interpreter_mark);
    p.pages.remove(p.interpreter);
    TestKeeper next;
    CHECK(p.pages.add(next) == p.interpreter_mark);
    p.pages.became_code(kPage, p.interpreter_mark);
    p.pages.written(kPage, 1);
    CHECK(next.writes.size() == 1);
    CHECK(p.interpreter.writes.empty());
    p.pages.remove(next);
}

TEST_CASE("A change of layout is told to keepers before and to watchers after it", "[code]") {
    Pages p;
    std::array<u8, kPageBytes> rom{};
    p.memory.overlay(kPage, kPageBytes, PageKind::Rom, rom.data());
    CHECK(p.interpreter.layouts == 1);
    CHECK(p.translator.layouts == 1);
    CHECK(p.watcher.layouts == 1);
    p.memory.remove_overlay(kPage, kPageBytes);
    CHECK(p.watcher.layouts == 2);
    p.pages.remove(p.watcher);
    p.memory.overlay(kPage, kPageBytes, PageKind::Mmio, nullptr);
    CHECK(p.watcher.layouts == 2);
}
