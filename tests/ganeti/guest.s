# A guest that needs nothing but the BIOS. It boots from sector 0 of its disk; then it writes, and reads again what it wrote
# 32 steps ago, four steps a tick of the clock, until it is stopped or finds something wrong.
#
#   sector 1        how often it booted, steps since then, and 'bad!' if something was wrong: 4 bytes each
#   sectors 64-127  a ring: step n fills sector 64 + n % 64 with n
#
# as --32 guest.s -o guest.o && ld -m elf_i386 -Ttext 0x7c00 --oformat binary guest.o -o guest

.intel_syntax noprefix
.code16
.global _start

.set report, 0x8000
.set steps, report + 4
.set verdict, report + 8
.set data, 0x8200

_start:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    cld
    sti
    mov [drive], dl
    mov eax, 1
    mov bx, report
    call read
    inc dword ptr [report]
    mov dword ptr [steps], 0

step:
    inc dword ptr [steps]
    mov eax, [steps]
    mov di, data
    mov cx, 128
    rep stosd
    call in_ring
    call write

    mov eax, [steps]
    sub eax, 32
    jbe tell
    push eax
    call in_ring
    call read
    pop eax
    mov di, data
    mov cx, 128
    repe scasd
    jne bad

tell:
    mov eax, 1
    mov bx, report
    call write
    test byte ptr [steps], 3
    jnz step
    hlt
    jmp step

# eax: a step; after it the sector of the ring that is the step's, with bx at the data.
in_ring:
    and eax, 63
    add eax, 64
    mov bx, offset data
    ret

# eax: a sector, bx: where its bytes are.
read:
    mov cx, 0x4200
    jmp transfer
write:
    mov cx, 0x4300
transfer:
    call bios
    jc bad
    ret
bios:
    mov [place], bx
    mov [sector], eax
    mov ax, cx
    mov dl, [drive]
    mov si, offset packet
    int 0x13
    ret

bad:
    mov dword ptr [verdict], 0x21646162
    mov eax, 1
    mov bx, report
    mov cx, 0x4300
    call bios
halt:
    cli
    hlt
    jmp halt

drive:
    .byte 0
packet:
    .byte 16, 0
    .word 1
place:
    .word 0, 0
sector:
    .quad 0

.org 510
.word 0xaa55
