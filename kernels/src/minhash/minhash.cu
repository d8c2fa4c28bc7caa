// MinHash signatures: one warp for a part of one text.
//
//   piece   units [x text, y its first byte, z its end, w where the part begins]  16 bytes each
//           bytes of the texts, one after the other, and 16 that are read and never used
//   out     [text][function], the least value so far; filled with the largest before
//
//   32 places of the text        a shingle for each lane        functions, 32 apart, for each lane
//   ┌─┬─┬─┬─ … ─┐  hash each   ┌─────────────┐  one by one     least[q] = min(least[q], a[q] * low + high)
//   └─┴─┴─┴─ … ─┘ ───────────▶ │ shared, 32  │ ─────────────▶  SLOTS of them in registers
//    a lane each               └─────────────┘   broadcast
//
// Bound by the integer multiply-adds: one and one minimum for each shingle and function. Hashing is a fifth of it at
// 128 functions; each 128 functions more go over the text again. Texts are read through the first cache: neighbours in
// a warp read neighbours in memory.
//
// Hazards.
// - The hashes must be those of kernels/src/minhash/shingle.rs to the bit: whole numbers only, and no byte that is
//   not of the shingle.
// - Lanes without a shingle (in the middle of a character or a word) must not leave a gap: the others close up.
// - A long text has many parts. They meet in atomicMin, whose order does not show.

namespace {

constexpr int WARPS = 4;
constexpr int SLOTS = 4;
constexpr u64 TOP_BITS = 0x8080808080808080ull;

__device__ __forceinline__ u64 fold(u64 a, u64 b) { return (a * b) ^ __umul64hi(a, b); }

struct Shingler {
    const u64* words;  // the texts' bytes
    u32 begin, end;    // of this text
    u32 n;
    u64 k0, k1, k2, k3;

    __device__ __forceinline__ u8 byte(u32 at) const { return ((const u8*)words)[at]; }

    // Up to 8 bytes, little-endian, filled up with zeros.
    __device__ __forceinline__ u64 word(u32 at, u32 count) const {
        const u32 shift = at % 8 * 8;
        const u64 low = words[at / 8], high = words[at / 8 + 1];
        const u64 word = low >> shift | high << 1 << (63 - shift);
        return count >= 8 ? word : word & ((1ull << 8 * count) - 1);
    }

    __device__ __forceinline__ u64 hash(u32 at, u32 length) const {
        u64 h = k0;
        for (u32 done = 0; done < length; done += 16) {
            const u32 left = length - done;
            const u64 second = left > 8 ? word(at + done + 8, left - 8) : 0;
            h = fold(word(at + done, left) ^ k1, second ^ h);
        }
        return fold(h ^ k2, length ^ k3);
    }

    // Bytes of the n characters that begin at `at`; 0 where none begins, or too few are left.
    __device__ __forceinline__ u32 characters(u32 at) const {
        if (at != begin && (byte(at) & 0xc0) == 0x80) {
            return 0;
        }
        u32 seen = 0;
        for (u32 next = at; next < end; next += 8) {
            const u32 left = end - next;
            const u64 bytes = word(next, left);
            // The top bit of every byte that begins a character: of all but 10xxxxxx.
            u64 starts = (~bytes | bytes << 1) & TOP_BITS;
            if (next == at) {
                starts |= 0x80;
            }
            if (left < 8) {
                starts &= (1ull << 8 * left) - 1;
            }
            const u32 count = __popcll(starts);
            if (seen + count > n) {
                for (u32 inside = n - seen; inside > 0; --inside) {
                    starts &= starts - 1;
                }
                return next - at + __popcll(~starts & (starts - 1)) / 8;
            }
            seen += count;
        }
        // A short text is one shingle.
        return seen == n || at == begin ? end - at : 0;
    }

    __device__ __forceinline__ bool blank(u32 at) const {
        const u8 value = byte(at);
        return value == 32 || (value >= 9 && value <= 13);
    }

    // The hash of the n words that begin at `at`; false where none begins, or too few are left.
    __device__ __forceinline__ bool of_words(u32 at, u64& result) const {
        if (blank(at) || (at != begin && !blank(at - 1))) {
            return false;
        }
        u64 h = k1;
        u32 seen = 0;
        for (u32 next = at; seen < n && next < end; ++seen) {
            const u32 from = next;
            while (next < end && !blank(next)) {
                ++next;
            }
            h = fold(hash(from, next - from) ^ k2, h ^ k0);
            while (next < end && blank(next)) {
                ++next;
            }
        }
        if (seen < n) {
            // A short text is one shingle.
            for (u32 before = begin; before < at; ++before) {
                if (!blank(before)) {
                    return false;
                }
            }
        }
        result = fold(h ^ k3, seen ^ k1);
        return true;
    }

    __device__ __forceinline__ bool of_characters(u32 at, u64& result) const {
        const u32 length = characters(at);
        if (length == 0) {
            return false;
        }
        result = hash(at, length);
        return true;
    }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(256) reset(u32* out, u64 count) {
    const u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = 0xffffffffu;
    }
}

extern "C" __global__ void __launch_bounds__(128)
    sign(const u64* __restrict__ piece, const u32* __restrict__ coefficients, u32* __restrict__ out, int units,
         int words_at, int part, int functions, int by_words, int n, u64 k0, u64 k1, u64 k2, u64 k3) {
    __shared__ u64 shown[WARPS][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int index = blockIdx.x * WARPS + warp;
    // The whole warp.
    if (index >= units) {
        return;
    }
    const uint4 unit = ((const uint4*)piece)[index];
    const Shingler shingler = {piece + words_at, unit.y, unit.z, (u32)n, k0, k1, k2, k3};
    const u32 last = min(unit.w + (u32)part, unit.z);
    const int first_function = blockIdx.y * SLOTS * 32 + lane;
    u32 a[SLOTS], least[SLOTS];
#pragma unroll
    for (int slot = 0; slot < SLOTS; ++slot) {
        a[slot] = coefficients[first_function + 32 * slot];
        least[slot] = 0xffffffffu;
    }
    for (u32 base = unit.w; base < last; base += 32) {
        const u32 at = base + lane;
        u64 hash = 0;
        const bool there =
            at < last && (by_words ? shingler.of_words(at, hash) : shingler.of_characters(at, hash));
        const u32 votes = __ballot_sync(common::ALL_LANES, there);
        if (there) {
            shown[warp][__popc(votes & ((1u << lane) - 1))] = hash;
        }
        __syncwarp();
        const int count = __popc(votes);
#pragma unroll 4
        for (int place = 0; place < count; ++place) {
            const u64 value = shown[warp][place];
            const u32 low = (u32)value, high = (u32)(value >> 32);
#pragma unroll
            for (int slot = 0; slot < SLOTS; ++slot) {
                least[slot] = min(least[slot], a[slot] * low + high);
            }
        }
        // What is shown is used before the next is: the votes keep lanes together, but order no memory.
        __syncwarp();
    }
#pragma unroll
    for (int slot = 0; slot < SLOTS; ++slot) {
        const int function = first_function + 32 * slot;
        if (function < functions) {
            atomicMin(out + (size_t)unit.x * functions + function, least[slot]);
        }
    }
}
