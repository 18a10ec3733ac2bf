# Cross build for arm64 with Debian's compiler and its arm64 packages (multiarch); programs run under qemu-user.
# `./dev test-arm64` arranges all of it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
# Headers and libraries of both architectures lie in one tree; the compiler's triple tells them apart.
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
