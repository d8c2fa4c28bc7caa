// What every CUDA source of the crate begins with. No header is included, so that NVRTC needs no folder of headers.

#ifndef COLONNADE_EMULATION
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) char name[]
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define NEVER_INLINED __noinline__
#else
#define NEVER_INLINED
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

namespace common {

constexpr u32 ALL_LANES = 0xffffffffu;

// The nearest bfloat16 (8 bits of significand, ties to even), as its bits. Not for NaN.
__device__ __forceinline__ u16 to_bf16(float value) {
    u32 bits = (u32)__float_as_int(value);
    return (u16)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

__device__ __forceinline__ float from_bf16(u16 bits) {
    return __int_as_float((int)((u32)bits << 16));
}

// c += a * b by one warp: a is 16 x 16, b is 16 x 8, both bfloat16, c is 16 x 8 in float. With group = lane / 4 and
// place = lane % 4, a lane holds
//   a[0] row group      columns 2 place, +1        a[1] row group + 8, the same columns
//   a[2] row group      columns 2 place + 8, +9    a[3] row group + 8, the same columns
//   b[0] rows 2 place, +1 of column group          b[1] rows 2 place + 8, +9 of it
//   c[0], c[1] row group, columns 2 place, +1      c[2], c[3] row group + 8, the same columns
// (PTX ISA, "Matrix Fragments for mma.m16n8k16"). The lower index is in the lower half of a register.
// Products are exact; each sum of 16 is rounded in an order that the hardware does not tell.
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#ifdef COLONNADE_EMULATION
    emulation::multiply_bf16(c, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Copies 16 bytes to shared memory beside the computation; both addresses are multiples of 16.
// `copies_commit` closes a group, `copies_wait<N>` waits until at most N groups are under way.
__device__ __forceinline__ void copy_16(void* shared, const void* global) {
#ifdef COLONNADE_EMULATION
    emulation::copy(shared, global, 16);
#else
    u32 to = (u32)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#endif
}
__device__ __forceinline__ void copies_commit() {
#ifdef COLONNADE_EMULATION
    emulation::copies_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int LEFT>
__device__ __forceinline__ void copies_wait() {
#ifdef COLONNADE_EMULATION
    emulation::copies_wait(LEFT);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// The multiprocessor that the block runs on by now.
__device__ __forceinline__ u32 multiprocessor() {
#ifdef COLONNADE_EMULATION
    return blockIdx.x;
#else
    u32 number;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(number));
    return number;
#endif
}

// A double whose operators are not contracted.
struct Real {
    double v;
    __device__ __forceinline__ Real() : v(0.0) {}
    __device__ __forceinline__ Real(double value) : v(value) {}
};
__device__ __forceinline__ Real operator+(Real a, Real b) { return Real(__dadd_rn(a.v, b.v)); }
__device__ __forceinline__ Real operator-(Real a, Real b) { return Real(__dadd_rn(a.v, -b.v)); }
__device__ __forceinline__ Real operator-(Real a) { return Real(-a.v); }
__device__ __forceinline__ Real operator*(Real a, Real b) { return Real(__dmul_rn(a.v, b.v)); }
__device__ __forceinline__ Real operator/(Real a, Real b) { return Real(a.v / b.v); }
__device__ __forceinline__ bool operator<(Real a, Real b) { return a.v < b.v; }
__device__ __forceinline__ bool operator<=(Real a, Real b) { return a.v <= b.v; }
__device__ __forceinline__ bool operator>=(Real a, Real b) { return a.v >= b.v; }
__device__ __forceinline__ Real root(Real a) { return Real(sqrt(a.v)); }

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}
template <typename T>
__device__ __forceinline__ T warp_least(T value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        T other = __shfl_xor_sync(ALL_LANES, value, distance);
        value = other < value ? other : value;
    }
    return value;
}
template <typename T>
__device__ __forceinline__ T warp_most(T value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        T other = __shfl_xor_sync(ALL_LANES, value, distance);
        value = other > value ? other : value;
    }
    return value;
}

}  // namespace common
