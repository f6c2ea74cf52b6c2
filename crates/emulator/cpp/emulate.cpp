// CUDA kernels on the host: one thread block after another, each thread a coroutine of its own.
//
// Threads run in an order that the caller chooses and hand over only where they wait for others:
// at `__syncthreads` and in the shuffles of a warp. What they wait for is kept track of, so that
// a barrier which some threads never reach is an error and no hang. Dynamic shared memory is filled with
// NaNs before each block. A kernel that lacks a barrier gives other numbers in another order.

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#define EMULATED
#define __global__
#define __device__
#define __shared__ static
using std::isfinite;
using std::isnan;
using std::max;
using std::min;

// Numbers of sixteen bits, rounded to the nearest, ties to even.
struct __nv_bfloat16 {
    uint16_t bits;
};
static inline float __bfloat162float(__nv_bfloat16 x) {
    uint32_t bits = (uint32_t)x.bits << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return {(uint16_t)((bits >> 16) | 0x40)};
    return {(uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

struct Dim {
    uint32_t x, y, z;
};
struct uint4 {
    uint32_t x, y, z, w;
};
static Dim gridDim, blockDim, blockIdx, threadIdx;

namespace {

enum State { READY, AT_BLOCK, AT_WARP, DONE };

constexpr uint32_t MOST = 1024, LANES = 32;
constexpr size_t STACK = 1 << 16;

// A coroutine begins as a context on a stack of its own, once, and lives for as long as the
// program; from then on it is left and entered by jumps, which need no call of the system.
struct Thread {
    jmp_buf inside;
    State state;
    Dim place;
    char* stack;
    bool begun;
};

Thread threads[MOST];
jmp_buf scheduler;
uint32_t n_threads, running;
uint64_t exchanged[MOST];
float* dynamic_shared;
void (*entry)(void**);
void** parameters;

void hand_over(State state) {
    Thread& self = threads[running];
    self.state = state;
    if (_setjmp(self.inside) == 0) _longjmp(scheduler, 1);
    threadIdx = threads[running].place;
}

void run_thread() {
    for (;;) {
        entry(parameters);
        hand_over(DONE);
    }
}

// Lets a thread run until it waits or is done.
__attribute__((noinline)) void resume(uint32_t t) {
    running = t;
    Thread& thread = threads[t];
    if (_setjmp(scheduler) != 0) return;
    if (thread.begun) _longjmp(thread.inside, 1);
    thread.begun = true;
    threadIdx = thread.place;
    if (!thread.stack) thread.stack = (char*)malloc(STACK);
    static ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = thread.stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, run_thread, 0);
    setcontext(&context);
}

// Lets the threads that all wait at the same barrier go on. Returns how many.
uint32_t release(uint32_t first, uint32_t end, State state) {
    uint32_t waiting = 0, alive = 0;
    for (uint32_t t = first; t < end; t++) {
        waiting += threads[t].state == state;
        alive += threads[t].state != DONE;
    }
    if (waiting == 0 || waiting != alive) return 0;
    for (uint32_t t = first; t < end; t++)
        if (threads[t].state == state) threads[t].state = READY;
    return waiting;
}

// Runs a block; false if its threads wait for each other for ever.
bool run_block(uint32_t order) {
    for (uint32_t t = 0; t < n_threads; t++) {
        Thread& thread = threads[t];
        thread.state = READY;
        thread.place = {t % blockDim.x, t / blockDim.x % blockDim.y,
                        t / (blockDim.x * blockDim.y)};
    }
    for (;;) {
        uint32_t done = 0, moved = 0;
        for (uint32_t i = 0; i < n_threads; i++) {
            // Forward, backward, or in steps of a number without a common factor.
            uint32_t t = order == 0 ? i : order == 1 ? n_threads - 1 - i : i * 17 % n_threads;
            if (threads[t].state == READY) {
                resume(t);
                moved++;
            }
            done += threads[t].state == DONE;
        }
        if (done == n_threads) return true;
        for (uint32_t first = 0; first < n_threads; first += LANES)
            moved += release(first, min(first + LANES, n_threads), AT_WARP);
        moved += release(0, n_threads, AT_BLOCK);
        if (moved == 0) {
            // They stand in the middle of the kernel and must begin anew.
            for (uint32_t t = 0; t < n_threads; t++) threads[t].begun = false;
            return false;
        }
    }
}

template <class T> T exchange(T value, uint32_t from) {
    static_assert(sizeof(T) <= 8, "a register or two");
    uint32_t self = running;
    memcpy(&exchanged[self], &value, sizeof(T));
    hand_over(AT_WARP);
    T result;
    memcpy(&result, &exchanged[self / LANES * LANES + from % LANES], sizeof(T));
    hand_over(AT_WARP);
    return result;
}

} // namespace

static inline void __syncthreads() { hand_over(AT_BLOCK); }
static inline void __syncwarp() { hand_over(AT_WARP); }
template <class T> static T __shfl_xor_sync(unsigned, T value, int lanes) {
    return exchange(value, (running % LANES) ^ lanes);
}
template <class T> static T __shfl_sync(unsigned, T value, int lane) {
    return exchange(value, lane);
}
#define DYNAMIC_SHARED(name) float* name = dynamic_shared

// Half `half` of a register of two numbers of sixteen bits.
static inline float half_of(uint32_t word, uint32_t half) {
    return __bfloat162float({(uint16_t)(word >> (16 * half))});
}

// What tensor cores do with the fragments of a warp, in the layout that PTX gives to
// mma.m16n8k16: see product.cu. The sixteen products of a link are added exactly.
static inline void multiply_add(float* d, const uint32_t* a, const uint32_t* b) {
    static uint32_t fragments[MOST][6];
    memcpy(fragments[running], a, 16);
    memcpy(fragments[running] + 4, b, 8);
    hand_over(AT_WARP);
    const uint32_t(*warp)[6] = fragments + running / LANES * LANES;
    uint32_t group = running % LANES / 4, place = running % LANES % 4;
    for (uint32_t c = 0; c < 4; c++) {
        double sum = d[c];
        for (uint32_t k = 0; k < 16; k++) {
            uint32_t register_of_a = c / 2 + k / 8 * 2, register_of_b = 4 + k / 8;
            uint32_t row = warp[group * 4 + k % 8 / 2][register_of_a];
            uint32_t column = warp[(2 * place + c % 2) * 4 + k % 8 / 2][register_of_b];
            sum += (double)half_of(row, k % 2) * half_of(column, k % 2);
        }
        d[c] = (float)sum;
    }
    hand_over(AT_WARP);
}

#include "kernels.cu"

// Kernels with mistakes, by which the emulation itself is tested.
extern "C" __global__ void without_a_barrier(float* out) {
    __shared__ float numbers[64];
    numbers[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = numbers[(threadIdx.x + 1) % 64];
}
extern "C" __global__ void with_a_barrier(float* out) {
    __shared__ float numbers[64];
    numbers[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = numbers[(threadIdx.x + 1) % 64];
}
extern "C" __global__ void at_two_barriers(float* out) {
    if (threadIdx.x % 2 == 0) {
        __syncthreads();
        out[threadIdx.x] = 0.0f;
    } else {
        out[threadIdx.x] = __shfl_xor_sync(ALL_LANES, 1.0f, 1);
    }
}
extern "C" __global__ void reads_what_nobody_wrote(float* out) {
    DYNAMIC_SHARED(shared);
    out[threadIdx.x] = shared[threadIdx.x];
}

// Calls a kernel with its parameters where `cuLaunchKernel` would read them.
template <class... P, size_t... I>
static void call(void (*kernel)(P...), void** p, std::index_sequence<I...>) {
    kernel(*(P*)p[I]...);
}
template <class... P> static void call(void (*kernel)(P...), void** p) {
    call(kernel, p, std::index_sequence_for<P...>());
}
struct Known {
    const char* name;
    void (*run)(void**);
};
#define KNOWN(name) {#name, [](void** p) { call(name, p); }}
static const Known known[] = {
#include "known.inc"
};

// Runs a kernel over a grid. Returns 0, or 1 if there is no such kernel, 2 if the block is none,
// 3 if threads wait for ever.
extern "C" int emulate(const char* name, const uint32_t* grid, const uint32_t* block,
                       uint32_t shared_bytes, void** params, uint32_t order) {
    auto found = std::find_if(std::begin(known), std::end(known),
                              [&](const Known& k) { return strcmp(k.name, name) == 0; });
    if (found == std::end(known)) return 1;
    n_threads = block[0] * block[1] * block[2];
    if (n_threads == 0 || n_threads > MOST) return 2;
    entry = found->run;
    parameters = params;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    float* shared = (float*)malloc(shared_bytes + 4);
    dynamic_shared = shared;
    bool fine = true;
    for (uint32_t z = 0; z < grid[2] && fine; z++)
        for (uint32_t y = 0; y < grid[1] && fine; y++)
            for (uint32_t x = 0; x < grid[0] && fine; x++) {
                blockIdx = {x, y, z};
                memset(shared, 0xff, shared_bytes);
                fine = run_block(order);
            }
    free(shared);
    return fine ? 0 : 3;
}
