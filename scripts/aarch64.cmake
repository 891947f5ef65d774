# Cross-builds for AArch64 with Debian's compiler, against a folder of unpacked arm64 packages; what is built runs under
# qemu-user, which ctest knows. scripts/arm-proof makes the folder and calls this:
#   cmake -S . -B build-arm/tree --toolchain scripts/aarch64.cmake -DLAPIDARY_SYSROOT=FOLDER
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LAPIDARY_SYSROOT)
set(CMAKE_SYSROOT ${LAPIDARY_SYSROOT})
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${LAPIDARY_SYSROOT})

# Programs are the host's, everything else is the folder's.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach(kind LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${kind} ONLY)
endforeach()
set(libraries ${LAPIDARY_SYSROOT}/usr/lib/aarch64-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${LAPIDARY_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${libraries}/pkgconfig:${libraries}/openblas-pthread/pkgconfig:${LAPIDARY_SYSROOT}/usr/share/pkgconfig)

# FindMPI and FindHDF5 ask wrappers, and the host's know the host's libraries. With all of these named FindMPI asks
# none; FindHDF5 asks the plain compiler, which does not know, and then searches.
set(MPI_C_LIB_NAMES mpi CACHE STRING "")
set(MPI_C_COMPILER_INCLUDE_DIRS ${libraries}/openmpi/include CACHE STRING "")
set(MPI_mpi_LIBRARY ${libraries}/openmpi/lib/libmpi.so CACHE FILEPATH "")
set(HDF5_C_COMPILER_EXECUTABLE ${CMAKE_C_COMPILER} CACHE STRING "")
