// The CUDA execution model on one host thread, as far as this crate's kernels use it.
//
// A kernel that was never run is not done, and most machines have no GPU. Here every thread of a block
// is a fiber that runs until it waits at a barrier, in an order that the caller chooses; blocks run one
// after the other. Compiled with the address sanitizer, every buffer ends where its bytes end. What it
// finds: accesses out of bounds, wrong tails, undefined arithmetic, barriers that not all threads
// reach, and (by running a launch in two orders and comparing) missing barriers.
// What it can't find: races within a warp between two barriers, a read of a local variable that was never
// written (stacks are kept from launch to launch), and anything about speed.

#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define EMULATION_SANITIZED 1
#endif

#define COLONNADE_EMULATION 1

// ---- the language

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// One block runs at a time, so that its shared memory may be static.
#define __shared__ static
#define __constant__ static const

struct uint3_ {
    unsigned x, y, z;
};

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulation {

constexpr int WARP = 32;
constexpr size_t STACK_BYTES = 256 * 1024;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "emulation: %s\n", what);
    std::fflush(stderr);
    std::abort();
}

// Saves the registers that a call preserves and takes up those of another stack. On other processors the
// system's contexts do it, with two system calls each time.
#if defined(__x86_64__)
extern "C" void emulation_switch(void** saved, void* resumed);
asm(".text\n"
    ".globl emulation_switch\n"
    ".type emulation_switch, @function\n"
    "emulation_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulation_switch, . - emulation_switch\n");

struct Context {
    void* stack_pointer = nullptr;
    void start(char* stack, size_t bytes, void (*entry)()) {
        void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15));
        // The return address sits so that `entry` finds the stack as after a call.
        top[-1] = nullptr;
        top[-2] = reinterpret_cast<void*>(entry);
        for (int saved = 3; saved <= 8; ++saved) {
            top[-saved] = nullptr;
        }
        stack_pointer = top - 8;
    }
    void switch_to(Context& other) { emulation_switch(&stack_pointer, other.stack_pointer); }
};
#else
struct Context {
    ucontext_t context;
    void start(char* stack, size_t bytes, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = bytes;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    void switch_to(Context& other) { swapcontext(&context, &other.context); }
};
#endif

enum class Wait { None, Block, Warp, Done };

// A copy that has been asked for; it happens when it is waited for, so that a kernel that does not wait reads what
// was there before.
struct Copy {
    void* to;
    const void* from;
    size_t bytes;
    int group;
};

struct Fiber {
    std::vector<Copy> copies;
    int copy_group = 0;
    Context context;
    char* stack = nullptr;
    void* fake_stack = nullptr;
    Wait wait = Wait::None;
    unsigned mask = 0;
    uint3_ thread{};
    int index = 0;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<int> order;
    // What each lane shows the others of its warp.
    std::vector<uint64_t> slots;
    std::vector<std::array<unsigned, 6>> fragments;
    Context scheduler;
    void* scheduler_fake_stack = nullptr;
    const void* scheduler_stack = nullptr;
    size_t scheduler_stack_bytes = 0;
    Fiber* current = nullptr;
    std::function<void()> kernel;
    uint3_ block{}, block_dim{}, grid_dim{};
    char* dynamic_shared = nullptr;
};

inline Block& state() {
    static Block block;
    return block;
}

inline void to_scheduler(bool last) {
    Block& block = state();
    Fiber* self = block.current;
#ifdef EMULATION_SANITIZED
    __sanitizer_start_switch_fiber(last ? nullptr : &self->fake_stack, block.scheduler_stack,
                                   block.scheduler_stack_bytes);
#endif
    self->context.switch_to(block.scheduler);
#ifdef EMULATION_SANITIZED
    __sanitizer_finish_switch_fiber(self->fake_stack, &block.scheduler_stack, &block.scheduler_stack_bytes);
#endif
}

inline void entry() {
    Block& block = state();
#ifdef EMULATION_SANITIZED
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_stack_bytes);
#endif
    block.kernel();
    block.current->wait = Wait::Done;
    to_scheduler(true);
}

inline void resume(Fiber& fiber) {
    Block& block = state();
    block.current = &fiber;
#ifdef EMULATION_SANITIZED
    __sanitizer_start_switch_fiber(&block.scheduler_fake_stack, fiber.stack, STACK_BYTES);
#endif
    block.scheduler.switch_to(fiber.context);
#ifdef EMULATION_SANITIZED
    __sanitizer_finish_switch_fiber(block.scheduler_fake_stack, nullptr, nullptr);
#endif
}

inline void wait_block() {
    state().current->wait = Wait::Block;
    to_scheduler(false);
}

inline void wait_warp(unsigned mask) {
    Fiber* self = state().current;
    if (!(mask >> (self->index % WARP) & 1)) {
        fail("a lane calls a warp function whose mask leaves it out");
    }
    self->wait = Wait::Warp;
    self->mask = mask;
    to_scheduler(false);
}

// Lets every warp go on whose lanes of one mask all wait. Whether any did.
inline bool release_warps() {
    Block& block = state();
    bool released = false;
    int threads = static_cast<int>(block.fibers.size());
    for (int base = 0; base < threads; base += WARP) {
        int lanes = threads - base < WARP ? threads - base : WARP;
        unsigned seen = 0;
        for (int lane = 0; lane < lanes; ++lane) {
            if (block.fibers[base + lane].wait != Wait::Warp || seen >> lane & 1) {
                continue;
            }
            unsigned mask = block.fibers[base + lane].mask;
            seen |= mask;
            bool all = true;
            for (int other = 0; other < lanes; ++other) {
                if (mask >> other & 1) {
                    const Fiber& fiber = block.fibers[base + other];
                    if (fiber.wait == Wait::Done) {
                        fail("a warp function names a lane that has returned");
                    }
                    all = all && fiber.wait == Wait::Warp && fiber.mask == mask;
                }
            }
            if (all) {
                for (int other = 0; other < lanes; ++other) {
                    if (mask >> other & 1) {
                        block.fibers[base + other].wait = Wait::None;
                    }
                }
                released = true;
            }
        }
    }
    return released;
}

inline void run_block() {
    Block& block = state();
    for (Fiber& fiber : block.fibers) {
        fiber.wait = Wait::None;
        fiber.copies.clear();
        fiber.copy_group = 0;
        fiber.context.start(fiber.stack, STACK_BYTES, entry);
    }
    for (;;) {
        bool ran = false;
        size_t done = 0, waiting = 0;
        for (int index : block.order) {
            Fiber& fiber = block.fibers[index];
            if (fiber.wait == Wait::None) {
                resume(fiber);
                ran = true;
            }
        }
        for (const Fiber& fiber : block.fibers) {
            done += fiber.wait == Wait::Done;
            waiting += fiber.wait == Wait::Block;
        }
        if (done == block.fibers.size()) {
            return;
        }
        if (waiting == block.fibers.size()) {
            for (Fiber& fiber : block.fibers) {
                fiber.wait = Wait::None;
            }
        } else if (!release_warps() && !ran) {
            fail(done > 0 && waiting > 0 ? "some threads returned while others wait at __syncthreads"
                                         : "threads wait at different barriers");
        }
    }
}

// The stack of a thread of a block. Stacks are kept: to make and to clear them takes longer than a small launch.
inline char* stack_of(size_t index) {
    static std::vector<char*> stacks;
    while (stacks.size() <= index) {
        stacks.push_back(static_cast<char*>(std::malloc(STACK_BYTES)));
    }
    return stacks[index];
}

// Runs a whole grid. `order` permutes the threads of a block: 0 first to last, 1 last to first, else at random.
inline void run_grid(uint3_ grid, uint3_ dim, size_t shared_bytes, uint64_t order, std::function<void()> kernel) {
    Block& block = state();
    int threads = static_cast<int>(dim.x * dim.y * dim.z);
    block.fibers = std::vector<Fiber>(threads);
    block.order.resize(threads);
    block.slots.assign(threads, 0);
    block.fragments.assign(threads, {});
    block.kernel = std::move(kernel);
    block.block_dim = dim;
    block.grid_dim = grid;
    for (int index = 0; index < threads; ++index) {
        Fiber& fiber = block.fibers[index];
        fiber.index = index;
        fiber.thread = {index % dim.x, index / dim.x % dim.y, index / (dim.x * dim.y)};
        fiber.stack = stack_of(index);
        block.order[index] = order == 1 ? threads - 1 - index : index;
    }
    if (order > 1) {
        uint64_t random = order;
        for (int index = threads - 1; index > 0; --index) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            std::swap(block.order[index], block.order[(random >> 33) % (index + 1)]);
        }
    }
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                // Fresh for each block, and full of NaN: what a kernel reads it must have written.
                block.dynamic_shared = static_cast<char*>(std::malloc(shared_bytes ? shared_bytes : 1));
                std::memset(block.dynamic_shared, 0xff, shared_bytes);
                block.block = {x, y, z};
                run_block();
                std::free(block.dynamic_shared);
            }
        }
    }
}

template <typename T>
inline T exchange(unsigned mask, T value, int source) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a lane shows 8 bytes");
    Block& block = state();
    int index = block.current->index;
    std::memcpy(&block.slots[index], &value, sizeof(T));
    wait_warp(mask);
    int base = index / WARP * WARP;
    int from = base + (source & (WARP - 1));
    if (from >= static_cast<int>(block.slots.size())) {
        fail("a shuffle reads a lane that is not there");
    }
    T result;
    std::memcpy(&result, &block.slots[from], sizeof(T));
    wait_warp(mask);
    return result;
}

inline int lane() { return state().current->index % WARP; }

inline float bf16_half(unsigned pair, int half) {
    unsigned bits = (half ? pair >> 16 : pair & 0xffffu) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// The warp's product of `common.cuh`. Products in float are exact; they are summed in double and rounded once.
inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Block& block = state();
    int index = block.current->index, base = index / WARP * WARP;
    if (base + WARP > static_cast<int>(block.fragments.size())) {
        fail("a matrix instruction needs a whole warp");
    }
    block.fragments[index] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    wait_warp(0xffffffffu);
    int group = (index - base) / 4, place = (index - base) % 4;
    for (int part = 0; part < 4; ++part) {
        int lower = part / 2, col = 2 * place + part % 2;
        double sum = c[part];
        for (int k = 0; k < 16; ++k) {
            const auto& left = block.fragments[base + 4 * group + k % 8 / 2];
            const auto& right = block.fragments[base + 4 * col + k % 8 / 2];
            sum += double(bf16_half(left[lower + 2 * (k / 8)], k % 2)) * bf16_half(right[4 + k / 8], k % 2);
        }
        c[part] = static_cast<float>(sum);
    }
    wait_warp(0xffffffffu);
}

inline void copy(void* to, const void* from, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes) {
        fail("an asynchronous copy from or to an address that is not aligned");
    }
    Fiber* self = state().current;
    self->copies.push_back({to, from, bytes, self->copy_group});
}
inline void copies_commit() { ++state().current->copy_group; }
inline void copies_wait(int left) {
    Fiber* self = state().current;
    std::vector<Copy> later;
    for (const Copy& copy : self->copies) {
        if (copy.group < self->copy_group - left) {
            std::memcpy(copy.to, copy.from, copy.bytes);
        } else {
            later.push_back(copy);
        }
    }
    self->copies = later;
}

}  // namespace emulation

#define threadIdx (emulation::state().current->thread)
#define blockIdx (emulation::state().block)
#define blockDim (emulation::state().block_dim)
#define gridDim (emulation::state().grid_dim)

#define DYNAMIC_SHARED(name) char* name = emulation::state().dynamic_shared

inline void __syncthreads() { emulation::wait_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::wait_warp(mask); }

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source) {
    return emulation::exchange(mask, value, source);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
    int lane = emulation::lane();
    return emulation::exchange(mask, value, lane < static_cast<int>(delta) ? lane : lane - static_cast<int>(delta));
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
    int source = emulation::lane() + static_cast<int>(delta);
    return emulation::exchange(mask, value, source < emulation::WARP ? source : emulation::lane());
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits) {
    return emulation::exchange(mask, value, emulation::lane() ^ bits);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    emulation::Block& block = emulation::state();
    int index = block.current->index, base = index / emulation::WARP * emulation::WARP;
    block.slots[index] = predicate != 0;
    emulation::wait_warp(mask);
    unsigned votes = 0;
    for (int lane = 0; lane < emulation::WARP; ++lane) {
        if (mask >> lane & 1) {
            votes |= static_cast<unsigned>(block.slots[base + lane]) << lane;
        }
    }
    emulation::wait_warp(mask);
    return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

inline unsigned __activemask() { emulation::fail("__activemask is not portable: name the lanes"); }
template <typename T>
inline T __reduce_add_sync(unsigned mask, T value) {
    T sum = 0;
    for (int lane = 0; lane < emulation::WARP; ++lane) {
        if (mask >> lane & 1) {
            sum += emulation::exchange(mask, value, lane);
        }
    }
    return sum;
}

// Threads run one at a time: a plain read and write are atomic.
template <typename T>
inline T atomicAdd(T* address, T value) {
    T old = *address;
    *address = old + value;
    return old;
}
template <typename T>
inline T atomicSub(T* address, T value) {
    T old = *address;
    *address = old - value;
    return old;
}
template <typename T>
inline T atomicMin(T* address, T value) {
    T old = *address;
    *address = value < old ? value : old;
    return old;
}
template <typename T>
inline T atomicMax(T* address, T value) {
    T old = *address;
    *address = value > old ? value : old;
    return old;
}
template <typename T>
inline T atomicOr(T* address, T value) {
    T old = *address;
    *address = old | value;
    return old;
}
template <typename T>
inline T atomicExch(T* address, T value) {
    T old = *address;
    *address = value;
    return old;
}
template <typename T>
inline T atomicCAS(T* address, T expected, T value) {
    T old = *address;
    if (old == expected) {
        *address = value;
    }
    return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}
template <typename T>
inline T __ldg(const T* address) {
    return *address;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(static_cast<unsigned>(bits)) : 32; }
inline int __clzll(long long bits) { return bits ? __builtin_clzll(static_cast<unsigned long long>(bits)) : 64; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

namespace emulation {
template <typename To, typename From>
inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emulation
inline double __longlong_as_double(long long bits) { return emulation::bits_as<double>(bits); }
inline long long __double_as_longlong(double value) { return emulation::bits_as<long long>(value); }
inline float __int_as_float(int bits) { return emulation::bits_as<float>(bits); }
inline int __float_as_int(float value) { return emulation::bits_as<int>(value); }
inline float __uint_as_float(unsigned bits) { return emulation::bits_as<float>(bits); }
inline unsigned __float_as_uint(float value) { return emulation::bits_as<unsigned>(value); }

// Contracted nowhere, as `__fmul_rn` and `__fadd_rn` promise.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float value) { return std::sqrt(value); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline double rsqrt(double value) { return 1.0 / std::sqrt(value); }
template <typename T>
inline T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T>
inline T max(T a, T b) {
    return a < b ? b : a;
}
using std::fabs;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::sqrt;

// ---- the harness: launches come in on stdin, buffers go back on stdout

namespace emulation {

struct Reader {
    template <typename T>
    T value() {
        T value;
        bytes(&value, sizeof value);
        return value;
    }
    void bytes(void* into, size_t count) {
        if (count && std::fread(into, 1, count, stdin) != count) {
            std::exit(0);
        }
    }
};

struct Argument {
    std::vector<char> scalar;
    char* buffer = nullptr;
    uint64_t buffer_bytes = 0;
};

inline std::vector<Argument>& arguments() {
    static std::vector<Argument> arguments;
    return arguments;
}

template <typename T>
struct As {
    static T from(const Argument& argument) {
        if (argument.buffer || argument.scalar.size() != sizeof(T)) {
            fail("an argument has another type than its parameter");
        }
        T value;
        std::memcpy(&value, argument.scalar.data(), sizeof value);
        return value;
    }
};
template <typename T>
struct As<T*> {
    static T* from(const Argument& argument) {
        if (!argument.buffer) {
            fail("a scalar is passed for a pointer");
        }
        return reinterpret_cast<T*>(argument.buffer);
    }
};

template <typename... P, size_t... I>
std::function<void()> with_arguments(void (*kernel)(P...), std::index_sequence<I...>) {
    if (arguments().size() != sizeof...(P)) {
        fail("a kernel is launched with another number of arguments than it has parameters");
    }
    return [kernel] { kernel(As<P>::from(arguments()[I])...); };
}

using Binder = std::function<std::function<void()>()>;

inline std::map<std::string, Binder>& kernels() {
    static std::map<std::string, Binder> kernels;
    return kernels;
}

template <typename... P>
int enlist(const char* name, void (*kernel)(P...)) {
    kernels()[name] = [kernel] { return with_arguments(kernel, std::index_sequence_for<P...>()); };
    return 0;
}

inline int serve() {
    Reader in;
    for (;;) {
        std::string name(in.value<uint32_t>(), ' ');
        in.bytes(&name[0], name.size());
        uint3_ grid = in.value<uint3_>(), dim = in.value<uint3_>();
        uint64_t shared_bytes = in.value<uint64_t>(), order = in.value<uint64_t>();
        arguments().assign(in.value<uint32_t>(), Argument());
        for (Argument& argument : arguments()) {
            bool buffer = in.value<uint8_t>() == 0;
            uint64_t bytes = in.value<uint64_t>();
            if (buffer) {
                // malloc, so that the sanitizer guards the exact end.
                argument.buffer = static_cast<char*>(std::malloc(bytes ? bytes : 1));
                argument.buffer_bytes = bytes;
                in.bytes(argument.buffer, bytes);
            } else {
                argument.scalar.resize(bytes);
                in.bytes(argument.scalar.data(), bytes);
            }
        }
        if (!kernels().count(name)) {
            fail(("there is no kernel " + name).c_str());
        }
        run_grid(grid, dim, shared_bytes, order, kernels()[name]());
        for (Argument& argument : arguments()) {
            if (argument.buffer) {
                std::fwrite(argument.buffer, 1, argument.buffer_bytes, stdout);
                std::free(argument.buffer);
            }
        }
        std::fflush(stdout);
    }
}

}  // namespace emulation
