#pragma once
// Who keeps code of which page of guest memory: the seam between those that write memory and those
// that have made something of its bytes.
//
// The problem: decoded blocks (and translated code) must go when their bytes change, and stores are
// frequent while stores to code are rare. So a page with code is marked in its flag byte, and no TLB
// keeps a write tag for a marked page: a store there misses the fast path, and the slow path, the
// page walker and every writer beside the CPUs call written() before they change a byte.
//
// Three parties that know nothing of each other:
//   Keeper   has made something of a page's bytes and drops it when it is told. Each has a mark of
//            its own in the flag byte, so the interpreter and a translator can keep a page at once.
//   Watcher  may write (or fetch) past written() as long as it is told in time: the TLB of a vCPU.
//   writers  ask GuestMemory, which owns the flag bytes and calls written().
//
// Order: a keeper first calls became_code() and then reads the bytes, so that no store slips in
// between; written() first drops what was made and only then lets the page be plain again. A page
// stays marked until its last keeper has nothing of it left, the block that is being executed
// included.
//
// A change of the memory layout (ROM shadowing, an overlay) is a write to everything: what physical
// addresses mean changes, so keepers drop all before it, under the old layout, and watchers after
// it. It takes effect at once, in the middle of an instruction too, whichever way that one ends.
//
// Rejected: a generation number that engines compare on their ways out of an instruction (one way
// was forgotten: a fault); write-protection of native pages (DMA and loaders would get EFAULT, and
// a signal costs more than a slow store).

#include "core/types.hpp"

#include <array>
#include <vector>

namespace droste {

class GuestMemory;
class MachineLock;

// Flag byte of a page: a bit for each keeper. Not zero under the mask: no TLB may hold a write tag.
inline constexpr u8 kPageHasCode = 0x0F;

class CodePages {
  public:
    class Keeper {
      public:
        Keeper() = default;
        Keeper(const Keeper&) = delete;
        Keeper& operator=(const Keeper&) = delete;
        virtual ~Keeper() = default;

        // [address, address + bytes), inside one page, is about to change.
        virtual void written(PhysAddr address, unsigned bytes) = 0;
        // All physical addresses are about to mean something else. Unmarks what was marked.
        virtual void layout_changing() = 0;
    };

    class Watcher {
      public:
        Watcher() = default;
        Watcher(const Watcher&) = delete;
        Watcher& operator=(const Watcher&) = delete;
        virtual ~Watcher() = default;

        // From now on stores to the page must come through written().
        virtual void page_became_code(PhysAddr page) = 0;
        // Translations made before may name memory that is no longer there.
        virtual void layout_changed() = 0;
    };

    explicit CodePages(const GuestMemory& memory) : memory_(memory) {}
    CodePages(const CodePages&) = delete;
    CodePages& operator=(const CodePages&) = delete;

    // Returns the keeper's mark. At most four keepers at a time.
    u8 add(Keeper& keeper);
    // Requires: the keeper has unmarked its pages.
    void remove(Keeper& keeper);
    void add(Watcher& watcher) { watchers_.push_back(&watcher); }
    // Of a machine with several threads; borrowed.
    void set_lock(MachineLock* lock) { lock_ = lock; }
    // Before bytes of the page are read to make something of them: nobody writes there from now on
    // but through written(), or while the caller has the machine's lock.
    void about_to_read(PhysAddr page);
    void remove(Watcher& watcher);

    // The keeper with this mark starts, or has ceased, to keep code of the page.
    void became_code(PhysAddr page, u8 mark);
    void no_longer_code(PhysAddr page, u8 mark);

    // Every writer, before it changes [address, address + bytes) inside one page. Cheap if no code
    // is there.
    void written(PhysAddr address, unsigned bytes);
    // The same with the page's flag byte at hand.
    void written(PhysAddr address, unsigned bytes, u8 flags) {
        if ((flags & kPageHasCode) != 0) [[unlikely]] {
            tell_keepers(address, bytes, flags);
        }
    }

    // GuestMemory, around a change of layout.
    void layout_changing();
    void layout_changed();

  private:
    static constexpr unsigned kMaxKeepers = 4;

    void tell_keepers(PhysAddr address, unsigned bytes, u8 flags);

    const GuestMemory& memory_;
    std::array<Keeper*, kMaxKeepers> keepers_{};  // the one at n has mark 1 << n
    std::vector<Watcher*> watchers_;
    MachineLock* lock_ = nullptr;
};

}  // namespace droste
