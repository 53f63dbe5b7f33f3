<?php

declare(strict_types=1);

namespace Relay\Check;

/**
 * The certificate of the other side.
 */
final class Certificate
{
    /**
     * @param array<string, mixed> $parsed as openssl_x509_parse has it
     */
    private function __construct(private readonly array $parsed)
    {
    }

    /**
     * @param resource $stream
     */
    public static function of($stream): ?self
    {
        $certificate = stream_context_get_options($stream)['ssl']['peer_certificate'] ?? null;
        $parsed = $certificate === null ? false : openssl_x509_parse($certificate);
        return $parsed === false ? null : new self($parsed);
    }

    public function description(): string
    {
        return sprintf(
            'of %s, for %s, signed by %s, valid until %s (%d days)',
            self::name($this->parsed['subject'] ?? []),
            implode(', ', $this->names()) ?: 'no name',
            $this->isSelfSigned() ? 'itself' : self::name($this->parsed['issuer'] ?? []),
            gmdate('Y-m-d', (int) $this->parsed['validTo_time_t']),
            $this->daysLeft(),
        );
    }

    public function daysLeft(): int
    {
        return (int) floor(((int) $this->parsed['validTo_time_t'] - time()) / 86_400);
    }

    /**
     * What can be wrong with it, for a client that wants to talk to this host.
     *
     * @return list<string>
     */
    public function cures(string $host): array
    {
        $cures = [];
        if ((int) $this->parsed['validTo_time_t'] <= time()) {
            $cures[] = 'it has expired: renew it (tls.certificate of the relay)';
        } elseif ((int) $this->parsed['validFrom_time_t'] > time()) {
            $cures[] = 'it is not valid yet: are the clocks right?';
        }
        if (!$this->isFor($host)) {
            $names = implode(', ', $this->names()) ?: 'no name at all';
            $cures[] = "it is not for $host, but for $names: use that in the URL, or get one for $host";
        }
        if ($this->isSelfSigned()) {
            $cures[] = 'it is signed by itself: --cafile certs/dev-cert.pem, '
                . 'if it is the development certificate of the relay';
        } elseif ($cures === []) {
            $cures[] = 'its issuer is not known here: --cafile with the certificates of your authority; '
                . 'or the relay does not send its chain (tls.certificate is fullchain.pem)';
        }
        return $cures;
    }

    /**
     * @return list<string>
     */
    private function names(): array
    {
        $list = (string) ($this->parsed['extensions']['subjectAltName'] ?? '');
        preg_match_all('/(?:DNS|IP Address):([^,\s]+)/', $list, $found);
        // Clients look at the common name only where there is no list.
        $common = $this->parsed['subject']['CN'] ?? [];
        return $found[1] !== [] ? $found[1] : array_map(strval(...), (array) $common);
    }

    private function isFor(string $host): bool
    {
        foreach ($this->names() as $name) {
            $isWild = str_starts_with($name, '*.') && strcasecmp((string) strstr($host, '.'), substr($name, 1)) === 0;
            $isSame = strcasecmp($name, $host) === 0
                || (@inet_pton($name) !== false && @inet_pton($name) === @inet_pton($host));
            if ($isWild || $isSame) {
                return true;
            }
        }
        return false;
    }

    private function isSelfSigned(): bool
    {
        return ($this->parsed['subject'] ?? null) === ($this->parsed['issuer'] ?? null);
    }

    /**
     * @param array<string, mixed> $name
     */
    private static function name(array $name): string
    {
        $parts = [];
        foreach ($name as $key => $value) {
            $values = implode('+', array_map(strval(...), (array) $value));
            $parts[] = "$key=" . preg_replace('/[^\x20-\x7e]+/', ' ', $values);
        }
        return implode(', ', $parts) ?: 'nobody';
    }
}
