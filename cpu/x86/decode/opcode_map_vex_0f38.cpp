// VEX map 2 (VEX.mmmmm = 00010b): the VEX-encoded rows of the 0F 38 map.
// SDM Vol. 2D, A.3 "One, Two, and Three-Byte Opcode Maps", Table A-4, and the instruction pages for
// W and L.

#include "cpu/x86/decode/map_table.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

namespace droste::opcode_map {

namespace {

using enum Operand;

constexpr Feature kAvx = Feature::AVX;
constexpr Feature kAvx2 = Feature::AVX2;
constexpr Feature kFma = Feature::FMA;
constexpr Feature kF16c = Feature::F16C;
constexpr Feature kAes = Feature::AES;
constexpr Feature kVaes = Feature::VAES;
constexpr Feature kGfni = Feature::GFNI;
constexpr Feature kBmi1 = Feature::BMI1;
constexpr Feature kBmi2 = Feature::BMI2;

// clang-format off
constexpr auto kVexMap0F38 = std::to_array<Row>({
    //opcode entry  operands  attributes  feature
    {0x00, Op::VPSHUFB,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x01, Op::VPHADDW,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x02, Op::VPHADDD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x03, Op::VPHADDSW,       {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x04, Op::VPMADDUBSW,     {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x05, Op::VPHSUBW,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x06, Op::VPHSUBD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x07, Op::VPHSUBSW,       {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x08, Op::VPSIGNB,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x09, Op::VPSIGNW,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x0A, Op::VPSIGND,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x0B, Op::VPMULHRSW,      {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x0C, Op::VPERMILPS,      {Vx, Hx, Wx},    k66 | kW0 | kNative, kAvx},
    {0x0D, Op::VPERMILPD,      {Vx, Hx, Wx},    k66 | kW0 | kNative, kAvx},
    {0x0E, Op::VTESTPS,        {Vx, Wx},        k66 | kW0 | kNative, kAvx},
    {0x0F, Op::VTESTPD,        {Vx, Wx},        k66 | kW0 | kNative, kAvx},
    {0x13, Op::VCVTPH2PS,      {Vx, Wx2},       k66 | kW0 | kNative, kF16c},
    {0x16, Op::VPERMPS,        {Vqq, Hqq, Wqq}, k66 | kW0 | kL1 | kNative, kAvx2},
    {0x17, Op::VPTEST,         {Vx, Wx},        k66 | kNative, kAvx},
    // A broadcast from a register came with AVX2.
    {0x18, Op::VBROADCASTSS,   {Vx, Wd},        k66 | kW0 | kModMem | kNative, kAvx},
    {0x18, Op::VBROADCASTSS,   {Vx, Wd},        k66 | kW0 | kModReg | kNative, kAvx2},
    {0x19, Op::VBROADCASTSD,   {Vqq, Wq},       k66 | kW0 | kL1 | kModMem | kNative, kAvx},
    {0x19, Op::VBROADCASTSD,   {Vqq, Wq},       k66 | kW0 | kL1 | kModReg | kNative, kAvx2},
    {0x1A, Op::VBROADCASTF128, {Vqq, Mdq},      k66 | kW0 | kL1 | kNative, kAvx},
    {0x1C, Op::VPABSB,         {Vx, Wx},        k66 | kNative | kYmmAvx2, kAvx},
    {0x1D, Op::VPABSW,         {Vx, Wx},        k66 | kNative | kYmmAvx2, kAvx},
    {0x1E, Op::VPABSD,         {Vx, Wx},        k66 | kNative | kYmmAvx2, kAvx},
    {0x20, Op::VPMOVSXBW,      {Vx, Wx2},       k66 | kNative | kYmmAvx2, kAvx},
    {0x21, Op::VPMOVSXBD,      {Vx, Wx4},       k66 | kNative | kYmmAvx2, kAvx},
    {0x22, Op::VPMOVSXBQ,      {Vx, Wx8},       k66 | kNative | kYmmAvx2, kAvx},
    {0x23, Op::VPMOVSXWD,      {Vx, Wx2},       k66 | kNative | kYmmAvx2, kAvx},
    {0x24, Op::VPMOVSXWQ,      {Vx, Wx4},       k66 | kNative | kYmmAvx2, kAvx},
    {0x25, Op::VPMOVSXDQ,      {Vx, Wx2},       k66 | kNative | kYmmAvx2, kAvx},
    {0x28, Op::VPMULDQ,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x29, Op::VPCMPEQQ,       {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x2A, Op::VMOVNTDQA,      {Vx, Mx},        k66 | kSse | kYmmAvx2, kAvx},
    {0x2B, Op::VPACKUSDW,      {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x2C, Op::VMASKMOVPS,     {Vx, Hx, Mx},    k66 | kW0, kAvx},
    {0x2D, Op::VMASKMOVPD,     {Vx, Hx, Mx},    k66 | kW0, kAvx},
    {0x2E, Op::VMASKMOVPS,     {Mx, Hx, Vx},    k66 | kW0, kAvx},
    {0x2F, Op::VMASKMOVPD,     {Mx, Hx, Vx},    k66 | kW0, kAvx},
    {0x30, Op::VPMOVZXBW,      {Vx, Wx2},       k66 | kNative | kYmmAvx2, kAvx},
    {0x31, Op::VPMOVZXBD,      {Vx, Wx4},       k66 | kNative | kYmmAvx2, kAvx},
    {0x32, Op::VPMOVZXBQ,      {Vx, Wx8},       k66 | kNative | kYmmAvx2, kAvx},
    {0x33, Op::VPMOVZXWD,      {Vx, Wx2},       k66 | kNative | kYmmAvx2, kAvx},
    {0x34, Op::VPMOVZXWQ,      {Vx, Wx4},       k66 | kNative | kYmmAvx2, kAvx},
    {0x35, Op::VPMOVZXDQ,      {Vx, Wx2},       k66 | kNative | kYmmAvx2, kAvx},
    {0x36, Op::VPERMD,         {Vqq, Hqq, Wqq}, k66 | kW0 | kL1 | kNative, kAvx2},
    {0x37, Op::VPCMPGTQ,       {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x38, Op::VPMINSB,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x39, Op::VPMINSD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x3A, Op::VPMINUW,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x3B, Op::VPMINUD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x3C, Op::VPMAXSB,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x3D, Op::VPMAXSD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x3E, Op::VPMAXUW,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x3F, Op::VPMAXUD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x40, Op::VPMULLD,        {Vx, Hx, Wx},    k66 | kNative | kYmmAvx2, kAvx},
    {0x41, Op::VPHMINPOSUW,    {Vdq, Wdq},      k66 | kL0 | kNative, kAvx},
    {0x45, Op::VPSRLVD,        {Vx, Hx, Wx},    k66 | kW0 | kNative, kAvx2},
    {0x45, Op::VPSRLVQ,        {Vx, Hx, Wx},    k66 | kW1 | kNative, kAvx2},
    {0x46, Op::VPSRAVD,        {Vx, Hx, Wx},    k66 | kW0 | kNative, kAvx2},
    {0x47, Op::VPSLLVD,        {Vx, Hx, Wx},    k66 | kW0 | kNative, kAvx2},
    {0x47, Op::VPSLLVQ,        {Vx, Hx, Wx},    k66 | kW1 | kNative, kAvx2},
    {0x58, Op::VPBROADCASTD,   {Vx, Wd},        k66 | kW0 | kNative, kAvx2},
    {0x59, Op::VPBROADCASTQ,   {Vx, Wq},        k66 | kW0 | kNative, kAvx2},
    {0x5A, Op::VBROADCASTI128, {Vqq, Mdq},      k66 | kW0 | kL1 | kNative, kAvx2},
    {0x78, Op::VPBROADCASTB,   {Vx, Wb},        k66 | kW0 | kNative, kAvx2},
    {0x79, Op::VPBROADCASTW,   {Vx, Ww},        k66 | kW0 | kNative, kAvx2},
    {0x8C, Op::VPMASKMOVD,     {Vx, Hx, Mx},    k66 | kW0, kAvx2},
    {0x8C, Op::VPMASKMOVQ,     {Vx, Hx, Mx},    k66 | kW1, kAvx2},
    {0x8E, Op::VPMASKMOVD,     {Mx, Hx, Vx},    k66 | kW0, kAvx2},
    {0x8E, Op::VPMASKMOVQ,     {Mx, Hx, Vx},    k66 | kW1, kAvx2},
    // Gathers: destination, VSIB memory, mask.
    {0x90, Op::VPGATHERDD,     {Vx, vm_d, Hx},  k66 | kW0, kAvx2},
    {0x90, Op::VPGATHERDQ,     {Vx, vm_q, Hx},  k66 | kW1, kAvx2},
    {0x91, Op::VPGATHERQD,     {Vx, vm_d, Hx},  k66 | kW0, kAvx2},
    {0x91, Op::VPGATHERQQ,     {Vx, vm_q, Hx},  k66 | kW1, kAvx2},
    {0x92, Op::VGATHERDPS,     {Vx, vm_d, Hx},  k66 | kW0, kAvx2},
    {0x92, Op::VGATHERDPD,     {Vx, vm_q, Hx},  k66 | kW1, kAvx2},
    {0x93, Op::VGATHERQPS,     {Vx, vm_d, Hx},  k66 | kW0, kAvx2},
    {0x93, Op::VGATHERQPD,     {Vx, vm_q, Hx},  k66 | kW1, kAvx2},
    {0x96, Op::VFMADDSUB132PS, {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0x96, Op::VFMADDSUB132PD, {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0x97, Op::VFMSUBADD132PS, {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0x97, Op::VFMSUBADD132PD, {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0x98, Op::VFMADD132PS,    {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0x98, Op::VFMADD132PD,    {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0x99, Op::VFMADD132SS,    {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0x99, Op::VFMADD132SD,    {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0x9A, Op::VFMSUB132PS,    {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0x9A, Op::VFMSUB132PD,    {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0x9B, Op::VFMSUB132SS,    {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0x9B, Op::VFMSUB132SD,    {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0x9C, Op::VFNMADD132PS,   {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0x9C, Op::VFNMADD132PD,   {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0x9D, Op::VFNMADD132SS,   {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0x9D, Op::VFNMADD132SD,   {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0x9E, Op::VFNMSUB132PS,   {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0x9E, Op::VFNMSUB132PD,   {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0x9F, Op::VFNMSUB132SS,   {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0x9F, Op::VFNMSUB132SD,   {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xA6, Op::VFMADDSUB213PS, {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xA6, Op::VFMADDSUB213PD, {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xA7, Op::VFMSUBADD213PS, {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xA7, Op::VFMSUBADD213PD, {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xA8, Op::VFMADD213PS,    {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xA8, Op::VFMADD213PD,    {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xA9, Op::VFMADD213SS,    {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xA9, Op::VFMADD213SD,    {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xAA, Op::VFMSUB213PS,    {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xAA, Op::VFMSUB213PD,    {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xAB, Op::VFMSUB213SS,    {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xAB, Op::VFMSUB213SD,    {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xAC, Op::VFNMADD213PS,   {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xAC, Op::VFNMADD213PD,   {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xAD, Op::VFNMADD213SS,   {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xAD, Op::VFNMADD213SD,   {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xAE, Op::VFNMSUB213PS,   {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xAE, Op::VFNMSUB213PD,   {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xAF, Op::VFNMSUB213SS,   {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xAF, Op::VFNMSUB213SD,   {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xB6, Op::VFMADDSUB231PS, {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xB6, Op::VFMADDSUB231PD, {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xB7, Op::VFMSUBADD231PS, {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xB7, Op::VFMSUBADD231PD, {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xB8, Op::VFMADD231PS,    {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xB8, Op::VFMADD231PD,    {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xB9, Op::VFMADD231SS,    {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xB9, Op::VFMADD231SD,    {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xBA, Op::VFMSUB231PS,    {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xBA, Op::VFMSUB231PD,    {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xBB, Op::VFMSUB231SS,    {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xBB, Op::VFMSUB231SD,    {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xBC, Op::VFNMADD231PS,   {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xBC, Op::VFNMADD231PD,   {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xBD, Op::VFNMADD231SS,   {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xBD, Op::VFNMADD231SD,   {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xBE, Op::VFNMSUB231PS,   {Vx, Hx, Wx},    k66 | kW0 | kNative, kFma},
    {0xBE, Op::VFNMSUB231PD,   {Vx, Hx, Wx},    k66 | kW1 | kNative, kFma},
    {0xBF, Op::VFNMSUB231SS,   {Vss, Hss, Wss}, k66 | kW0 | kNative, kFma},
    {0xBF, Op::VFNMSUB231SD,   {Vsd, Hsd, Wsd}, k66 | kW1 | kNative, kFma},
    {0xCF, Op::VGF2P8MULB,     {Vx, Hx, Wx},    k66 | kW0 | kNative, kGfni},
    {0xDB, Op::VAESIMC,        {Vdq, Wdq},      k66 | kL0 | kNative, kAes},
    {0xDC, Op::VAESENC,        {Vdq, Hdq, Wdq}, k66 | kL0 | kNative, kAes},
    {0xDC, Op::VAESENC,        {Vqq, Hqq, Wqq}, k66 | kL1 | kNative, kVaes},
    {0xDD, Op::VAESENCLAST,    {Vdq, Hdq, Wdq}, k66 | kL0 | kNative, kAes},
    {0xDD, Op::VAESENCLAST,    {Vqq, Hqq, Wqq}, k66 | kL1 | kNative, kVaes},
    {0xDE, Op::VAESDEC,        {Vdq, Hdq, Wdq}, k66 | kL0 | kNative, kAes},
    {0xDE, Op::VAESDEC,        {Vqq, Hqq, Wqq}, k66 | kL1 | kNative, kVaes},
    {0xDF, Op::VAESDECLAST,    {Vdq, Hdq, Wdq}, k66 | kL0 | kNative, kAes},
    {0xDF, Op::VAESDECLAST,    {Vqq, Hqq, Wqq}, k66 | kL1 | kNative, kVaes},
    // General-purpose registers (BMI1, BMI2): W chooses 32 or 64 bits in 64-bit mode, else it is ignored.
    {0xF2, Op::ANDN,           {Gy, By, Ey},    kNP | kL0, kBmi1},
    {0xF3, Op::BLSR,           {By, Ey},        kNP | kL0 | reg(1), kBmi1},
    {0xF3, Op::BLSMSK,         {By, Ey},        kNP | kL0 | reg(2), kBmi1},
    {0xF3, Op::BLSI,           {By, Ey},        kNP | kL0 | reg(3), kBmi1},
    {0xF5, Op::BZHI,           {Gy, Ey, By},    kNP | kL0, kBmi2},
    {0xF5, Op::PEXT,           {Gy, By, Ey},    kF3 | kL0, kBmi2},
    {0xF5, Op::PDEP,           {Gy, By, Ey},    kF2 | kL0, kBmi2},
    {0xF6, Op::MULX,           {Gy, By, Ey},    kF2 | kL0, kBmi2},
    {0xF7, Op::BEXTR,          {Gy, Ey, By},    kNP | kL0, kBmi1},
    {0xF7, Op::SHLX,           {Gy, Ey, By},    k66 | kL0, kBmi2},
    {0xF7, Op::SARX,           {Gy, Ey, By},    kF3 | kL0, kBmi2},
    {0xF7, Op::SHRX,           {Gy, Ey, By},    kF2 | kL0, kBmi2},
});
// clang-format on
static_assert(sorted_by_opcode(kVexMap0F38), "keep the table in opcode order");

constexpr auto kRows = expand_rows<expanded_count(kVexMap0F38)>(kVexMap0F38);
constexpr auto kTable = build_map<kSplitCells<kRows>>(kRows, {OpcodeMap::Map0F38, true});

}  // namespace

constinit const MapView kVex0F38 = view_of(kTable, kRows);

}  // namespace droste::opcode_map
