# The boot sector by which a host finds out whether /dev/kvm serves. It walks from real mode to 64-bit mode with paging,
# as every kernel does, executes CPUID, takes an invalid-opcode exception and a page fault, writes "Nephos" to the debug
# console (port 0xe9) on its way, and ends QEMU through isa-debug-exit (port 0xf4).
#
# as --64 kvm-probe.S -o kvm-probe.o && ld -Ttext=0x7c00 --oformat=binary -o kvm-probe.bin kvm-probe.o
.code16
.globl _start
_start:
  cli
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  movb $'N', %al
  outb %al, $0xe9
  # Page tables at 0x1000 to 0x3fff: the first 2 MiB, mapped on themselves.
  cld
  xorl %eax, %eax
  movw $0x1000, %di
  movw $0x0c00, %cx
  rep stosl
  movl $0x2003, 0x1000
  movl $0x3003, 0x2000
  movl $0x0083, 0x3000
  movl $0x1000, %eax
  movl %eax, %cr3
  movl %cr4, %eax
  orl $0x20, %eax
  movl %eax, %cr4
  movl $0xc0000080, %ecx
  rdmsr
  orl $0x100, %eax
  wrmsr
  lgdtl gdtr
  movl %cr0, %eax
  orl $0x80000001, %eax
  movl %eax, %cr0
  ljmpl $8, $long_mode
.code64
long_mode:
  movw $16, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movb $'e', %al
  outb %al, $0xe9
  # The interrupt table at 0x4000: gates 6 (invalid opcode) and 14 (page fault) lead to `fault`.
  xorl %eax, %eax
  movl $0x4000, %edi
  movl $0x400, %ecx
  rep stosl
  movl $fault, %eax
  movl $0x4000 + 6 * 16, %edi
  call set_gate
  movl $0x4000 + 14 * 16, %edi
  call set_gate
  lidt idtr
  xorl %eax, %eax
  cpuid
  ud2
  movl $0x40000000, %ebx
  movb (%rbx), %al
  movb $'s', %al
  outb %al, $0xe9
  movb $'\n', %al
  outb %al, $0xe9
  movb $0x20, %al
  outb %al, $0xf4
halt:
  hlt
  jmp halt
set_gate:
  movw %ax, (%rdi)
  movl $0x8e000008, 2(%rdi)
  movw $0, 6(%rdi)
  ret
# Goes on behind the two-byte instruction that faulted. The page fault, told by its error code on the stack, says "ho",
# the invalid opcode "p".
fault:
  cmpq $8, 8(%rsp)
  je opcode
  addq $8, %rsp
  movb $'h', %al
  outb %al, $0xe9
  movb $'o', %al
  jmp say
opcode:
  movb $'p', %al
say:
  outb %al, $0xe9
  addq $2, (%rsp)
  iretq
.balign 8
gdt:
  .quad 0
  .quad 0x00209a0000000000
  .quad 0x0000920000000000
gdtr:
  .word gdtr - gdt - 1
  .long gdt
idtr:
  .word 0x3ff
  .quad 0x4000
.org 510
.word 0xaa55
