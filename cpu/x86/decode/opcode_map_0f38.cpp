// Three-byte opcode map, first two bytes 0F 38. SDM Vol. 2D, A.3 "One, Two, and Three-Byte Opcode
// Maps", Table A-4. The rows that need VEX are in opcode_map_vex_0f38.cpp.

#include "cpu/x86/decode/map_table.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

namespace droste::opcode_map {

namespace {

using enum Operand;

constexpr Feature kSsse3 = Feature::SSSE3;
constexpr Feature kSse41 = Feature::SSE4_1;
constexpr Feature kSse42 = Feature::SSE4_2;
constexpr Feature kAes = Feature::AES;
constexpr Feature kSha = Feature::SHA;
constexpr Feature kGfni = Feature::GFNI;

// clang-format off
constexpr auto kThreeByteMap38 = std::to_array<Row>({
    //opcode entry  operands  attributes  feature
    {0x00, Op::PSHUFB,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x00, Op::PSHUFB,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x01, Op::PHADDW,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x01, Op::PHADDW,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x02, Op::PHADDD,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x02, Op::PHADDD,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x03, Op::PHADDSW,     {Pq, Qq},   kNP | kNative, kSsse3},
    {0x03, Op::PHADDSW,     {Vx, Wx},   k66 | kSse, kSsse3},
    {0x04, Op::PMADDUBSW,   {Pq, Qq},   kNP | kNative, kSsse3},
    {0x04, Op::PMADDUBSW,   {Vx, Wx},   k66 | kSse, kSsse3},
    {0x05, Op::PHSUBW,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x05, Op::PHSUBW,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x06, Op::PHSUBD,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x06, Op::PHSUBD,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x07, Op::PHSUBSW,     {Pq, Qq},   kNP | kNative, kSsse3},
    {0x07, Op::PHSUBSW,     {Vx, Wx},   k66 | kSse, kSsse3},
    {0x08, Op::PSIGNB,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x08, Op::PSIGNB,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x09, Op::PSIGNW,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x09, Op::PSIGNW,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x0A, Op::PSIGND,      {Pq, Qq},   kNP | kNative, kSsse3},
    {0x0A, Op::PSIGND,      {Vx, Wx},   k66 | kSse, kSsse3},
    {0x0B, Op::PMULHRSW,    {Pq, Qq},   kNP | kNative, kSsse3},
    {0x0B, Op::PMULHRSW,    {Vx, Wx},   k66 | kSse, kSsse3},
    {0x10, Op::PBLENDVB,    {Vdq, Wdq}, k66 | kSse, kSse41},
    {0x14, Op::BLENDVPS,    {Vdq, Wdq}, k66 | kSse, kSse41},
    {0x15, Op::BLENDVPD,    {Vdq, Wdq}, k66 | kSse, kSse41},
    {0x17, Op::PTEST,       {Vx, Wx},   k66 | kSse, kSse41},
    {0x1C, Op::PABSB,       {Pq, Qq},   kNP | kNative, kSsse3},
    {0x1C, Op::PABSB,       {Vx, Wx},   k66 | kSse, kSsse3},
    {0x1D, Op::PABSW,       {Pq, Qq},   kNP | kNative, kSsse3},
    {0x1D, Op::PABSW,       {Vx, Wx},   k66 | kSse, kSsse3},
    {0x1E, Op::PABSD,       {Pq, Qq},   kNP | kNative, kSsse3},
    {0x1E, Op::PABSD,       {Vx, Wx},   k66 | kSse, kSsse3},
    {0x20, Op::PMOVSXBW,    {Vx, Wx2},  k66 | kNative, kSse41},
    {0x21, Op::PMOVSXBD,    {Vx, Wx4},  k66 | kNative, kSse41},
    {0x22, Op::PMOVSXBQ,    {Vx, Wx8},  k66 | kNative, kSse41},
    {0x23, Op::PMOVSXWD,    {Vx, Wx2},  k66 | kNative, kSse41},
    {0x24, Op::PMOVSXWQ,    {Vx, Wx4},  k66 | kNative, kSse41},
    {0x25, Op::PMOVSXDQ,    {Vx, Wx2},  k66 | kNative, kSse41},
    {0x28, Op::PMULDQ,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x29, Op::PCMPEQQ,     {Vx, Wx},   k66 | kSse, kSse41},
    {0x2A, Op::MOVNTDQA,    {Vx, Mx},   k66 | kSse, kSse41},
    {0x2B, Op::PACKUSDW,    {Vx, Wx},   k66 | kSse, kSse41},
    {0x30, Op::PMOVZXBW,    {Vx, Wx2},  k66 | kNative, kSse41},
    {0x31, Op::PMOVZXBD,    {Vx, Wx4},  k66 | kNative, kSse41},
    {0x32, Op::PMOVZXBQ,    {Vx, Wx8},  k66 | kNative, kSse41},
    {0x33, Op::PMOVZXWD,    {Vx, Wx2},  k66 | kNative, kSse41},
    {0x34, Op::PMOVZXWQ,    {Vx, Wx4},  k66 | kNative, kSse41},
    {0x35, Op::PMOVZXDQ,    {Vx, Wx2},  k66 | kNative, kSse41},
    {0x37, Op::PCMPGTQ,     {Vx, Wx},   k66 | kSse, kSse42},
    {0x38, Op::PMINSB,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x39, Op::PMINSD,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x3A, Op::PMINUW,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x3B, Op::PMINUD,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x3C, Op::PMAXSB,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x3D, Op::PMAXSD,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x3E, Op::PMAXUW,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x3F, Op::PMAXUD,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x40, Op::PMULLD,      {Vx, Wx},   k66 | kSse, kSse41},
    {0x41, Op::PHMINPOSUW,  {Vdq, Wdq}, k66 | kSse, kSse41},
    {0x80, Op::INVEPT,      {Gy, Mdq},  k66 | kForce64 | kEndsBlock, Feature::VMX},
    {0x81, Op::INVVPID,     {Gy, Mdq},  k66 | kForce64 | kEndsBlock, Feature::VMX},
    {0x82, Op::INVPCID,     {Gy, Mdq},  k66 | kForce64 | kEndsBlock, Feature::INVPCID},
    {0xC8, Op::SHA1NEXTE,   {Vdq, Wdq}, kNP | kSse, kSha},
    {0xC9, Op::SHA1MSG1,    {Vdq, Wdq}, kNP | kSse, kSha},
    {0xCA, Op::SHA1MSG2,    {Vdq, Wdq}, kNP | kSse, kSha},
    {0xCB, Op::SHA256RNDS2, {Vdq, Wdq}, kNP | kSse, kSha},
    {0xCC, Op::SHA256MSG1,  {Vdq, Wdq}, kNP | kSse, kSha},
    {0xCD, Op::SHA256MSG2,  {Vdq, Wdq}, kNP | kSse, kSha},
    {0xCF, Op::GF2P8MULB,   {Vx, Wx},   k66 | kSse, kGfni},
    {0xDB, Op::AESIMC,      {Vdq, Wdq}, k66 | kSse, kAes},
    {0xDC, Op::AESENC,      {Vdq, Wdq}, k66 | kSse, kAes},
    {0xDD, Op::AESENCLAST,  {Vdq, Wdq}, k66 | kSse, kAes},
    {0xDE, Op::AESDEC,      {Vdq, Wdq}, k66 | kSse, kAes},
    {0xDF, Op::AESDECLAST,  {Vdq, Wdq}, k66 | kSse, kAes},
    {0xF0, Op::MOVBE,       {Gv, Mv},   kNP | k66, Feature::MOVBE},
    {0xF0, Op::CRC32,       {Gy, Eb},   kF2, kSse42},
    {0xF1, Op::MOVBE,       {Mv, Gv},   kNP | k66, Feature::MOVBE},
    {0xF1, Op::CRC32,       {Gy, Ev},   kF2, kSse42},
    {0xF5, Op::WRUSS,       {Ey, Gy},   k66 | kModMem | kNotReal, Feature::CET_SS},
    {0xF6, Op::WRSS,        {Ey, Gy},   kNP | kModMem | kNotReal, Feature::CET_SS},
    {0xF6, Op::ADCX,        {Gy, Ey},   k66, Feature::ADX},
    {0xF6, Op::ADOX,        {Gy, Ey},   kF3, Feature::ADX},
});
// clang-format on
static_assert(sorted_by_opcode(kThreeByteMap38), "keep the table in opcode order");

constexpr auto kRows = expand_rows<expanded_count(kThreeByteMap38)>(kThreeByteMap38);
constexpr auto kTable = build_map<kSplitCells<kRows>>(kRows, {OpcodeMap::Map0F38, false});

}  // namespace

constinit const MapView kMap0F38 = view_of(kTable, kRows);

}  // namespace droste::opcode_map
