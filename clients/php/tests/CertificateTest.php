<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;
use Relay\Client;
use Relay\Exception\ConnectionFailed;
use Relay\Exception\Step;
use Relay\Options;

/**
 * Whom the client trusts.
 */
final class CertificateTest extends TestCase
{
    private static ?Relay $relay = null;

    public static function setUpBeforeClass(): void
    {
        self::$relay = new Relay();
    }

    public static function tearDownAfterClass(): void
    {
        self::$relay = null;
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function schemes(): iterable
    {
        yield 'ssl' => ['ssl'];
        yield 'wss' => ['wss'];
    }

    private static function refused(Client $client, string $why): void
    {
        try {
            $client->broadcast('a secret');
            self::fail('the certificate was trusted');
        } catch (ConnectionFailed $failed) {
            self::assertSame(Step::Tls, $failed->step, $failed->getMessage());
            self::assertStringContainsString($why, $failed->getMessage());
        }
    }

    private static function relay(): Relay
    {
        return self::$relay ?? throw new \LogicException('no relay');
    }

    /**
     * @dataProvider schemes
     */
    public function testACertificateThatNobodyVouchesFor(string $scheme): void
    {
        self::refused(new Client(self::relay()->url($scheme)), 'not trusted');
    }

    /**
     * @dataProvider schemes
     */
    public function testACertificateForAnotherName(string $scheme): void
    {
        $options = self::relay()->options(peerName: 'relay.example.org');
        self::refused(new Client(self::relay()->url($scheme), $options), 'another name');
    }

    /**
     * @dataProvider schemes
     */
    public function testAnAddressIsANameToo(string $scheme): void
    {
        $url = str_replace('localhost', '127.0.0.1', self::relay()->url($scheme));
        self::assertTrue((new Client($url, self::relay()->options()))->broadcast('x'));
    }

    /**
     * @dataProvider schemes
     */
    public function testACertificateThatHasExpired(string $scheme): void
    {
        foreach ([1 => Step::Handshake, 0 => Step::Tls] as $days => $step) {
            $file = self::certificate($days);
            try {
                $server = new FaultServer('tls', $file);
                $url = str_replace('127.0.0.1', 'localhost', $server->url($scheme));
                (new Client($url, new Options(cafile: $file, connectTimeout: 1.0)))->connect();
                self::fail('this is no relay');
            } catch (ConnectionFailed $failed) {
                // The same certificate is trusted as long as it lasts.
                self::assertSame($step, $failed->step, $failed->getMessage());
            } finally {
                unlink($file);
            }
        }
    }

    /**
     * @dataProvider schemes
     */
    public function testNoCheckOnlyOnDemand(string $scheme): void
    {
        self::assertTrue((new Client(self::relay()->url($scheme), new Options(verify: false)))->broadcast('x'));
    }

    public function testACafileThatIsNotThere(): void
    {
        self::refused(
            new Client(self::relay()->url('ssl'), new Options(cafile: '/nowhere/ca.pem')),
            'the trusted certificates cannot be read',
        );
    }

    /**
     * A file with a key and a certificate for localhost that is signed by itself, for so many days.
     */
    private static function certificate(int $days): string
    {
        $key = openssl_pkey_new(['private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1']);
        $request = openssl_csr_new(['commonName' => 'localhost'], $key, ['digest_alg' => 'sha256']);
        openssl_x509_export(openssl_csr_sign($request, null, $key, $days, ['digest_alg' => 'sha256']), $certificate);
        openssl_pkey_export($key, $private);
        $file = (string) tempnam(sys_get_temp_dir(), 'relay');
        file_put_contents($file, $certificate . $private);
        return $file;
    }
}
